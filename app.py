"""Chalice wiring only: a handler a trigger, each parses, calls and maps."""

from collections.abc import Callable
from typing import Any

from chalice.app import Chalice, CloudWatchEvent, Rate, SQSEvent, WebsocketEvent

from chalicelib import bootstrap, logs
from chalicelib.api import ingest, server
from chalicelib.dispatch import sqs
from chalicelib.protocol import handshake

app = Chalice(app_name="carillon")
app.experimental_feature_flags.update(["WEBSOCKETS"])
app.register_blueprint(server.blueprint)
app.register_blueprint(ingest.blueprint)

Handled = dict[str, Any]


@app.middleware("websocket")
def let_nothing_out(event: WebsocketEvent, handler: Callable[[WebsocketEvent], Handled]) -> Handled:
    """An exception would be a 502 or "Internal server error" to the client; it is a logged 500."""
    try:
        return handler(event)
    except Exception:  # noqa: BLE001 the last line of defence, and it tells
        logs.failure("websocket_handler_failed", connection=event.connection_id)
        return {"statusCode": 500}


@app.on_ws_connect()
def websocket_connect(event: WebsocketEvent) -> Handled:
    context = _context(event)
    bootstrap.endpoint().learn(api_id=context["apiId"], domain=event.domain_name, stage=event.stage)
    shaken = handshake.read(event.to_dict().get("headers", {}))
    connected_at = context["connectedAt"] / 1000
    taken = bootstrap.hub().connect(event.connection_id, connected_at, shaken.token)
    return {"statusCode": 200 if taken else 401, "headers": shaken.answer}


@app.on_ws_message()
def websocket_message(event: WebsocketEvent) -> Handled:
    received_at_ms = _context(event)["requestTimeEpoch"]
    bootstrap.hub().receive(event.connection_id, event.body, received_at_ms)
    return {"statusCode": 200}


@app.on_ws_disconnect()
def websocket_disconnect(event: WebsocketEvent) -> Handled:
    bootstrap.hub().disconnect(event.connection_id)
    return {"statusCode": 200}


@app.on_sqs_message(queue="carillon-fanout.fifo", batch_size=10)
def fanout(event: SQSEvent) -> None:
    sqs.answer((record.body for record in event), bootstrap.fanout().drain)


@app.schedule(Rate(1, unit=Rate.MINUTES))
def sweep(_event: CloudWatchEvent) -> None:
    bootstrap.sweep().run()


def _context(event: WebsocketEvent) -> dict[str, Any]:
    context: dict[str, Any] = event.to_dict()["requestContext"]
    return context
