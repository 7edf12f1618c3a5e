"""The official client SDKs, unmodified, and the official server library."""

from collections.abc import Iterator

import pytest
from cent import (
    BatchRequest,
    BroadcastRequest,
    ChannelsRequest,
    Disconnect,
    DisconnectRequest,
    InfoRequest,
    PublishRequest,
    SubscribeRequest,
    UnsubscribeRequest,
)
from cent import Client as Server

from tests.e2e.clients import Client, event
from tests.e2e.conftest import Clients
from tests.support.stack import Stack

NEWS = {"headline": "Zoë said “hi”", "count": 1, "nested": [None, {"true": True}]}


@pytest.fixture
def server(stack: Stack) -> Iterator[Server]:
    """The official server library, from PyPI."""
    with Server(stack.api, stack.api_key) as server:
        yield server


def test_a_hundred_publications_arrive_in_order(
    client: Client, stack: Stack, server: Server, channel: str
) -> None:
    """Half of them are published with a plain POST, half with the server library."""
    client.subscribe(channel)
    for number in range(0, 100, 2):
        assert "result" in stack.post("publish", {"channel": channel, "data": {"n": number}})
        server.publish(PublishRequest(channel=channel, data={"n": number + 1}))

    client.wait_for_all(100, event("publication", channel=channel))

    assert client.publications(channel) == [{"n": number} for number in range(100)]


def test_after_unsubscribe_nothing_more_arrives(
    client: Client, stack: Stack, server: Server, channel: str
) -> None:
    """The marker, in another channel, was published later."""
    client.subscribe(channel)
    client.subscribe(f"{channel}-marker")
    server.publish(PublishRequest(channel=channel, data="before"))
    client.wait_for(event("publication", channel=channel))

    client.command("unsubscribe", channel=channel)
    client.wait_for(event("unsubscribed", channel=channel))
    client.call("rpc", method="echo", data="the unsubscribe has been sent")
    stack.gateway.quiet()
    server.publish(PublishRequest(channel=channel, data="after"))
    server.publish(PublishRequest(channel=f"{channel}-marker", data="marker"))
    client.wait_for(event("publication", channel=f"{channel}-marker"))

    assert client.publications(channel) == ["before"]
    assert stack.rows(channel) == []


def test_a_client_publishes_to_others_and_to_itself(
    clients: Clients, stack: Stack, channel: str
) -> None:
    publisher, other = clients(), clients()
    publisher_id = publisher.connect(stack.ws)
    for each in (publisher, other):
        if each is other:
            each.connect(stack.ws)
        each.subscribe(channel)

    reply = publisher.call("publish", channel=channel, data=NEWS)

    assert reply["result"] == {}
    for each in (publisher, other):
        publication = each.wait_for(event("publication", channel=channel))
        assert publication["data"] == NEWS
        assert publication["info"]["client"] == publisher_id


def test_an_rpc_is_answered(client: Client) -> None:
    assert client.call("rpc", method="echo", data=NEWS)["result"] == {"data": NEWS}


def test_an_unknown_rpc_is_error_104(client: Client) -> None:
    assert client.call("rpc", method="nobody", data={})["error"]["code"] == 104


def test_a_forbidden_publish_is_an_error_reply(client: Client) -> None:
    reply = client.call("publish", channel="no-such-namespace:x", data=1)

    assert reply["error"]["code"] == 102


def test_an_unknown_namespace_ends_the_subscription_with_102(client: Client) -> None:
    client.command("subscribe", channel="no-such-namespace:x")

    ended = client.wait_for(event("unsubscribed", channel="no-such-namespace:x"))

    assert ended["code"] == 102


def test_many_subscriptions_made_before_connecting_all_come_up(
    clients: Clients, stack: Stack, channel: str
) -> None:
    """SDKs send connect and every subscribe in one frame, or one right after the other."""
    client = clients()
    names = [f"{channel}-{number}" for number in range(20)]
    client.command("connect", url=stack.ws)
    for name in names:
        client.command("subscribe", channel=name)
    client.wait_for_all(20, event("subscribed"))

    stack.post("broadcast", {"channels": names, "data": "hello"})

    client.wait_for_all(20, event("publication"))
    assert {name: client.publications(name) for name in names} == dict.fromkeys(names, ["hello"])


def test_the_server_subscribes_and_unsubscribes_a_client(
    clients: Clients, stack: Stack, server: Server, channel: str
) -> None:
    client = clients()
    client_id = client.connect(stack.ws)

    server.subscribe(SubscribeRequest(user="", client=client_id, channel=channel))
    client.wait_for(event("subscribed", channel=channel, server_side=True))
    server.publish(PublishRequest(channel=channel, data="in"))
    client.wait_for(event("publication", channel=channel, server_side=True))
    server.unsubscribe(UnsubscribeRequest(user="", client=client_id, channel=channel))
    client.wait_for(event("unsubscribed", channel=channel, server_side=True))

    assert client.publications(channel) == ["in"]
    assert stack.rows(channel) == []


def test_the_server_ends_a_subscription_that_the_client_made(
    clients: Clients, stack: Stack, server: Server, channel: str
) -> None:
    client = clients()
    client_id = client.connect(stack.ws)
    client.subscribe(channel)

    server.unsubscribe(UnsubscribeRequest(user="", client=client_id, channel=channel))

    ended = client.wait_for(event("unsubscribed", channel=channel))
    assert (ended["code"], ended["reason"]) == (2000, "server unsubscribe")


def test_a_terminal_disconnect_is_the_end(
    clients: Clients, stack: Stack, server: Server, channel: str
) -> None:
    client = clients()
    client_id = client.connect(stack.ws)
    client.subscribe(channel)

    server.disconnect(DisconnectRequest(user="", client=client_id))

    ended = client.wait_for(event("disconnected"))
    assert (ended["code"], ended["reason"]) == (3503, "force disconnect")
    stack.gateway.quiet()
    assert stack.rows(channel) == []
    assert stack.connection(client_id) is None


def test_after_another_disconnect_the_client_comes_back(
    clients: Clients, stack: Stack, server: Server, channel: str
) -> None:
    client = clients()
    client_id = client.connect(stack.ws)
    client.subscribe(channel)
    since = len(client.events)

    again = Disconnect(code=3000, reason="come back")
    server.disconnect(DisconnectRequest(user="", client=client_id, disconnect=again))

    left = client.wait_for(event("connecting"), since=since)
    assert (left["code"], left["reason"]) == (3000, "come back")
    returned = client.wait_for(event("connected"), since=since)
    assert returned["client"] != client_id
    client.wait_for(event("subscribed", channel=channel), since=since)
    server.publish(PublishRequest(channel=channel, data="welcome back"))
    client.wait_for(event("publication", channel=channel))
    assert client.publications(channel) == ["welcome back"]


def test_a_lost_network_connection_is_made_again(
    clients: Clients, stack: Stack, server: Server, channel: str
) -> None:
    client = clients()
    client_id = client.connect(stack.ws)
    client.subscribe(channel)
    since = len(client.events)

    stack.gateway.drop(client_id, notify=True)
    client.wait_for(event("subscribed", channel=channel), since=since)
    server.publish(PublishRequest(channel=channel, data="welcome back"))

    client.wait_for(event("publication", channel=channel))
    assert client.publications(channel) == ["welcome back"]


def test_the_server_library_understands_every_answer(
    clients: Clients, stack: Stack, server: Server, channel: str
) -> None:
    client = clients()
    client.connect(stack.ws)
    client.subscribe(f"{channel}-a")
    client.subscribe(f"{channel}-b")

    listed = server.channels(ChannelsRequest(pattern=f"{channel}-*")).channels
    assert {name: info.num_clients for name, info in listed.items()} == {
        f"{channel}-a": 1,
        f"{channel}-b": 1,
    }

    (node,) = server.info(InfoRequest()).nodes
    assert node.num_clients >= 1
    assert node.num_subs >= 2

    names = [f"{channel}-a", "no-such-namespace:x"]
    told, refused = server.broadcast(BroadcastRequest(channels=names, data=1)).responses
    assert told.error is None
    assert refused.error is not None
    assert refused.error.code == 102

    requests = [PublishRequest(channel=f"{channel}-b", data=number) for number in (2, 3)]
    assert len(server.batch(BatchRequest(requests=[*requests, InfoRequest()])).replies) == 3

    client.wait_for_all(3, event("publication"))
    assert client.publications(f"{channel}-a") == [1]
    assert client.publications(f"{channel}-b") == [2, 3]
