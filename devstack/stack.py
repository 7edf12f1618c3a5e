"""Everything up, in order: AWS, its table, the app, its gateways."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from chalice.app import Chalice

from devstack import aws, resources, rest, stage, triggers
from devstack.ports import check_free
from localgateway import LocalGateway, serve


@dataclass(frozen=True, slots=True)
class Options:
    """What to run, and where; port 0 is any free one.

    Attributes:
        aws: URL of an AWS that runs elsewhere; empty: embed one.
        http: Whether to serve the HTTP API, which `chalice local` can do instead.
        fanout: How shards get drained: ``inline``, by the publisher, or ``sqs``, through the queue.
    """

    http_port: int = 8000
    ws_port: int = 8001
    aws_port: int = 8002
    aws: str = ""
    http: bool = True
    fanout: str = "inline"


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs, and where it answers; ``http`` is empty when the HTTP API is not served here."""

    http: str
    ws: str
    aws: str
    app: Chalice
    gateway: LocalGateway


@contextmanager
def running(options: Options) -> Iterator[Stack]:
    """The whole stack. Raises: PortTakenError."""
    with ExitStack() as stack:
        if options.http:
            check_free(options.http_port, "--http-port")
        check_free(options.ws_port, "--ws-port")
        aws_url = options.aws or stack.enter_context(embedded(options.aws_port))
        stage.enter(AWS_ENDPOINT_URL=aws_url, WEBSOCKET_ENDPOINT="")
        queues = resources.create(aws_url, stage.value("TABLE"))
        stage.fill("INGEST_DEAD_LETTERS_URL", queues["IngestDeadLetters"])
        if options.fanout == "sqs":
            stage.fill("FANOUT_QUEUE_URL", queues["FanoutQueue"])

        from app import app  # only now, when its environment is complete

        gateway = stack.enter_context(serve(app, port=options.ws_port, stage="api"))
        stage.fill("WEBSOCKET_ENDPOINT", gateway.management_url)
        http = stack.enter_context(rest.serving(app, options.http_port)) if options.http else ""
        stack.enter_context(
            triggers.polling(app, lambda service: resources.client(service, aws_url))
        )
        stack.enter_context(triggers.ticking(app))
        yield Stack(http, gateway.ws_url, aws_url, app, gateway)


@contextmanager
def embedded(port: int) -> Iterator[str]:
    """Just the embedded AWS. Raises: PortTakenError."""
    check_free(port, "--aws-port")
    with aws.embedded(port) as url:
        yield url
