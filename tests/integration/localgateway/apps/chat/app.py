"""A chat in the manner of Chalice's tutorial: choose a name, join a room, talk in it.

The state is a dictionary, so it lasts as long as the process; a real app keeps it in a table.
"""

from dataclasses import dataclass

from boto3.session import Session  # noqa: TID251 - a user's app, as users write them
from chalice.app import BadRequestError, Chalice, Response, WebsocketDisconnectedError

app = Chalice(app_name="chat")
app.websocket_api.session = Session()
app.experimental_feature_flags.update(["WEBSOCKETS"])


@dataclass
class Member:
    """Somebody who is connected."""

    name: str = "somebody"
    room: str | None = None


MEMBERS: dict[str, Member] = {}


@app.on_ws_connect()
def connect(event):  # type: ignore[no-untyped-def] # as users write them
    query = event.to_dict().get("queryStringParameters") or {}
    if query.get("token") == "bad":
        return Response("", status_code=401)
    if query.get("token") == "worse":
        raise BadRequestError("Chalice does not turn this into a 400 here")
    MEMBERS[event.connection_id] = Member()
    return {"body": event.body}


@app.on_ws_disconnect()
def disconnect(event):  # type: ignore[no-untyped-def]
    member = MEMBERS.pop(event.connection_id)
    tell(member.room, f"* {member.name} left")


@app.on_ws_message()
def message(event):  # type: ignore[no-untyped-def]
    member = MEMBERS[event.connection_id]
    command, _, argument = event.body.partition(" ")
    if command == "/name":
        member.name = argument
    elif command == "/join":
        member.room = argument
        tell(argument, f"* {member.name} joined")
    elif command == "/leave":
        app.websocket_api.close(event.connection_id)
    elif command == "/since":
        info = app.websocket_api.info(event.connection_id)
        app.websocket_api.send(event.connection_id, info["ConnectedAt"].isoformat())
    elif command == "/json":
        app.websocket_api.send(event.connection_id, event.json_body["text"])
    else:
        tell(member.room, f"{member.name}: {event.body}")
    return "this goes nowhere"


def tell(room: str | None, text: str) -> None:
    """Send a text to everybody in the room; who is gone is forgotten."""
    for connection_id, member in list(MEMBERS.items()):
        if room is not None and member.room == room:
            try:
                app.websocket_api.send(connection_id, text)
            except WebsocketDisconnectedError as gone:
                MEMBERS.pop(gone.connection_id, None)
