"""`bin/dev`: run Carillon on this machine, until Ctrl-C or SIGTERM."""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence

from devstack import stage
from devstack.ports import PortTakenError
from devstack.stack import Options, Stack, embedded, running


def main(arguments: Sequence[str]) -> int:
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("chalicelib").setLevel(parsed.log_level.upper())
    stopped = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda _signal, _frame: stopped.set())
    try:
        if parsed.aws_only:
            with embedded(parsed.aws_port) as url:
                _say(f"ready  embedded AWS on {url}")
                stopped.wait()
        else:
            with running(_options(parsed)) as stack:
                _say(_ready(stack))
                stopped.wait()
    except PortTakenError as error:
        sys.stderr.write(f"bin/dev: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bin/dev", description=__doc__)
    default = Options()
    parser.add_argument("--http-port", type=int, default=default.http_port)
    parser.add_argument("--ws-port", type=int, default=default.ws_port)
    parser.add_argument("--aws-port", type=int, default=default.aws_port)
    parser.add_argument("--no-http", action="store_true", help="leave HTTP to `chalice local`")
    parser.add_argument("--aws-only", action="store_true", help="run the embedded AWS, no more")
    parser.add_argument("--aws", metavar="URL", default="", help="use an AWS that runs elsewhere")
    parser.add_argument(
        "--fanout", default="inline", choices=["inline", "sqs"], help="how shards get drained"
    )
    parser.add_argument("--log-level", default="info", choices=["info", "warning", "error"])
    return parser


def _options(parsed: argparse.Namespace) -> Options:
    return Options(
        http_port=parsed.http_port,
        ws_port=parsed.ws_port,
        aws_port=parsed.aws_port,
        aws=parsed.aws or stage.value("AWS_ENDPOINT_URL"),
        http=not parsed.no_http,
        fanout=parsed.fanout,
    )


def _ready(stack: Stack) -> str:
    key = stage.value("API_KEYS").split(",")[0]
    http = stack.http or "http://127.0.0.1:8000"
    curl = f"""curl -H 'X-API-Key: {key}' -d '{{"channel":"demo","data":"hello"}}' {http}/publish"""
    return f"ready  {http}  {stack.ws}  API key: {key}  try: {curl}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
