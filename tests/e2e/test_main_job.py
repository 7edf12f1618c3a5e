"""A POST arrives in every WebSocket of its channel: bare sockets, no SDK."""

from tests.e2e.clients import Client, event
from tests.e2e.conftest import Clients
from tests.support.stack import Stack

SOCKETS = 200


def test_one_post_reaches_two_hundred_sockets(
    plain_clients: Clients, stack: Stack, channel: str
) -> None:
    sockets = _subscribed(plain_clients, stack, channel, SOCKETS)

    stack.post("publish", {"channel": channel, "data": {"to": "all"}})
    for socket in sockets:
        socket.wait_for(event("publication", channel=channel))
    stack.post("publish", {"channel": channel, "data": "once more"})
    for socket in sockets:
        socket.wait_for_all(2, event("publication", channel=channel))

    expected = [{"to": "all"}, "once more"]
    assert [socket.publications(channel) for socket in sockets] == [expected] * SOCKETS


def test_a_socket_that_died_silently_is_forgotten_and_its_neighbours_are_not(
    plain_clients: Clients, stack: Stack, channel: str
) -> None:
    sockets = _subscribed(plain_clients, stack, channel, 5)
    other = f"{channel}-other"
    for socket in sockets:
        socket.call("subscribe", channel=other)
    victim, *neighbours = sockets
    victim_id = victim.call("whoami")["data"]
    stack.gateway.drop(victim_id)
    victim.wait_for(event("disconnected"))
    assert victim_id in stack.rows(channel)

    stack.post("publish", {"channel": channel, "data": "who is there"})

    for socket in neighbours:
        socket.wait_for(event("publication", channel=channel))
    for name in (channel, other):
        assert len(stack.rows(name)) == 4
        assert victim_id not in stack.rows(name)
    assert stack.connection(victim_id) is None


def test_a_plain_socket_subscribes_hears_and_leaves(
    plain_clients: Clients, stack: Stack, channel: str
) -> None:
    """The whole of the action dialect, as typed into wscat."""
    socket = plain_clients()
    socket.connect(stack.ws)

    assert socket.call("ping")["event"] == "ping"
    assert socket.call("subscribe", channel=channel)["event"] == "subscribe"
    assert socket.call("publish", channel=channel, data={"n": 1})["event"] == "publish"
    heard = socket.wait_for(event("publication", channel=channel))
    assert heard["data"] == {"n": 1}
    assert socket.call("unsubscribe", channel=channel)["event"] == "unsubscribe"

    stack.post("publish", {"channel": channel, "data": {"n": 2}})
    assert socket.call("echo", text="hi")["data"]["text"] == "hi"
    assert socket.publications(channel) == [{"n": 1}]


def test_what_a_plain_socket_says_wrong_is_answered_and_it_stays_open(
    plain_clients: Clients, stack: Stack, channel: str
) -> None:
    socket = plain_clients()
    socket.connect(stack.ws)

    assert socket.call("nobody")["code"] == 104
    assert socket.call("subscribe")["code"] == 107
    assert socket.call("subscribe", channel=7)["code"] == 107
    assert socket.call("subscribe", channel="no-such-namespace:x")["code"] == 102
    assert socket.call("subscribe", channel=channel)["event"] == "subscribe"
    assert socket.call("subscribe", channel=channel)["code"] == 105
    assert len(stack.rows(channel)) == 1


def test_both_dialects_hear_one_publication(
    plain_clients: Clients, clients: Clients, stack: Stack, channel: str
) -> None:
    socket, client = plain_clients(), clients()
    socket.connect(stack.ws)
    socket.call("subscribe", channel=channel)
    client.connect(stack.ws)
    client.subscribe(channel)

    stack.post("publish", {"channel": channel, "data": "hello", "tags": {"lang": "en"}})

    for each in (socket, client):
        heard = each.wait_for(event("publication", channel=channel))
        assert (heard["data"], heard["tags"]) == ("hello", {"lang": "en"})


def _subscribed(clients: Clients, stack: Stack, channel: str, number: int) -> list[Client]:
    sockets = [clients() for _ in range(number)]
    for socket in sockets:
        socket.command("connect", url=stack.ws)
    for socket in sockets:
        socket.wait_for(event("connected"))
        socket.command("subscribe", channel=channel)
    for socket in sockets:
        socket.wait_for(event("subscribe"))
    return sockets
