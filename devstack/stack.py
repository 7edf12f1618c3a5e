"""Everything up, in order: AWS, its table, the app, its gateways."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from devstack import aws, resources, rest, stage
from devstack.ports import check_free


@dataclass(frozen=True, slots=True)
class Options:
    """What to run, and where; port 0 is any free one.

    Attributes:
        aws: URL of an AWS that runs elsewhere; empty: embed one.
        http: Whether to serve the HTTP API, which `chalice local` can do instead.
    """

    http_port: int = 8000
    ws_port: int = 8001
    aws_port: int = 8002
    aws: str = ""
    http: bool = True


@dataclass(frozen=True, slots=True)
class Urls:
    """Where everything answers; ``http`` is empty when the HTTP API is not served here."""

    http: str
    ws: str
    aws: str


@contextmanager
def running(options: Options) -> Iterator[Urls]:
    """The whole stack. Raises: PortTakenError."""
    with ExitStack() as stack:
        if options.http:
            check_free(options.http_port, "--http-port")
        check_free(options.ws_port, "--ws-port")
        aws_url = options.aws or stack.enter_context(embedded(options.aws_port))
        ws_port = options.ws_port or _free_port()
        stage.enter(AWS_ENDPOINT_URL=aws_url, WEBSOCKET_ENDPOINT=f"http://127.0.0.1:{ws_port}/api")
        resources.create(aws_url, stage.caller_sets("TABLE"))

        from localgateway import serve

        from app import app  # it reads the environment, which is ready only now

        gateway = stack.enter_context(serve(app, port=ws_port, stage="api"))
        http_url = stack.enter_context(rest.serving(app, options.http_port)) if options.http else ""
        yield Urls(http_url, gateway.ws_url, aws_url)


@contextmanager
def embedded(port: int) -> Iterator[str]:
    """Just the embedded AWS. Raises: PortTakenError."""
    check_free(port, "--aws-port")
    with aws.embedded(port) as url:
        yield url


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
