"""``python -m localgateway app:app``: serve a Chalice app's WebSocket handlers until Ctrl-C."""

import argparse
import json
import logging
import os
import signal
import ssl
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from localgateway.chaos import Chaos, parse_chaos
from localgateway.loading import Source
from localgateway.logs import LOG, JsonFormatter, TextFormatter, line
from localgateway.serving import LocalGateway, serve
from localgateway.settings import Settings

_LOOK_SECONDS = 1.0  # how often --reload looks, like chalice local
_NOT_BY_NAME = ("stage", "authorizer")  # one has an option of its own, the other is a function


def main(argv: Sequence[str]) -> int:
    """Run the command; 2 if it cannot start."""
    options = _parser().parse_args(argv)
    _log_to_stdout(as_json=options.log == "json")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    project = Path(options.project)
    if options.chalice_stage:
        _load_environment(project, options.chalice_stage)
    source = Source(options.app, project)
    try:
        with serve(
            source.load(),
            host=options.host,
            port=options.port,
            stage=options.stage,
            tls=_tls(options.tls_cert, options.tls_key),
            chaos=options.chaos,
            **dict(options.set),
        ) as gateway:
            line("listening", ws=gateway.ws_url, management=gateway.management_url)
            _wait(gateway, source if options.reload else None)
    except KeyboardInterrupt:
        line("stopped")
    except (ImportError, AttributeError, OSError, ValueError) as exc:
        LOG.error("%s", exc)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m localgateway", description=__doc__)
    parser.add_argument("app", nargs="?", default="app:app", help="module:attribute (app:app)")
    parser.add_argument("--project", default=".", help="directory to import it from (.)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001, help="0 takes a free one (8001)")
    parser.add_argument("--stage", default="api", help="the API's stage, its path (api)")
    parser.add_argument("--tls-cert", help="serve wss and https with this certificate (PEM)")
    parser.add_argument("--tls-key", help="its key, unless it is in the certificate's file")
    parser.add_argument("--reload", action="store_true", help="new handlers on a changed file")
    parser.add_argument("--log", choices=("text", "json"), default="text")
    parser.add_argument(
        "--chalice-stage", help="set this stage's environment_variables of .chalice/config.json"
    )
    parser.add_argument(
        "--chaos",
        type=_checked(parse_chaos),
        default=Chaos(),
        help="misbehave: seed=7,gone=0.01,lose_disconnects=0.2,… (see the README)",
    )
    parser.add_argument(
        "--set",
        type=_checked(_setting),
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting, e.g. idle_seconds=30 (see the README)",
    )
    return parser


def _checked(convert: Any) -> Any:
    """Let argparse show a ValueError's own words."""

    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as exc:
            raise argparse.ArgumentTypeError(str(exc)) from exc

    return converted


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    names = [each for each in Settings.__dataclass_fields__ if each not in _NOT_BY_NAME]
    if not equals or name not in names:
        raise ValueError(f"{name!r} is none of {', '.join(names)}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _log_to_stdout(*, as_json: bool) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)


def _load_environment(project: Path, stage: str) -> None:
    """Do as ``chalice local --stage`` does: the app finds its settings in the environment."""
    config = json.loads((project / ".chalice" / "config.json").read_text())
    for scope in (config, config.get("stages", {}).get(stage, {})):
        os.environ.update(scope.get("environment_variables", {}))  # noqa: TID251 - the app's


def _tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def _wait(gateway: LocalGateway, source: Source | None) -> None:
    """Wait for Ctrl-C, replacing the handlers whenever a source file changed."""
    never = threading.Event()
    while not never.wait(_LOOK_SECONDS):
        if source is not None and source.changed():
            _reload(gateway, source)


def _reload(gateway: LocalGateway, source: Source) -> None:
    """Replace the handlers; those that cannot be imported change nothing.

    Divergence from chalice local, which is down until the file is mended: here, as after a
    deployment that failed, the old handlers and every socket stay.
    """
    try:
        gateway.use(source.load())
    except Exception:  # noqa: BLE001 - a user's module may raise anything while it is edited
        LOG.exception("reload.failed")
    else:
        line("reload", connections=len(gateway.connection_ids()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
