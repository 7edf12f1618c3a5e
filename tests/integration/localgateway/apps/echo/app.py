"""The smallest WebSocket app in Chalice: what you say is said back to you."""

from boto3.session import Session  # noqa: TID251 - a user's app, as users write them
from chalice.app import Chalice, WebsocketDisconnectedError

app = Chalice(app_name="echo")
app.websocket_api.session = Session()
app.experimental_feature_flags.update(["WEBSOCKETS"])


@app.on_ws_message()
def message(event):  # type: ignore[no-untyped-def] # as users write them
    try:
        app.websocket_api.send(connection_id=event.connection_id, message=event.body)
    except WebsocketDisconnectedError as gone:
        app.log.info("gone: %s", gone.connection_id)


@app.route("/say/{connection_id}/{text}")
def say(connection_id, text):  # type: ignore[no-untyped-def]
    app.websocket_api.send(connection_id=connection_id, message=text)
    return {"said": text}
