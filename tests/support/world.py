"""The whole core on in-memory peers, with a clock that a test moves."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jwt
import msgspec

from chalicelib import bootstrap
from chalicelib.apikeys import ApiKeys
from chalicelib.channels import Channels, Options
from chalicelib.model import Publication
from chalicelib.ports import Store, Streams
from chalicelib.protocol.commands import Subscribe
from chalicelib.settings import Settings
from chalicelib.store.memory import MemoryStore, MemoryStreams
from chalicelib.streams import Log
from chalicelib.tokens import TokenConfig
from chalicelib.transport.memory import MemoryTransport

_A = TypeVar("_A")
_R = TypeVar("_R")

SECRET = "a secret of more than thirty-two bytes"


def token(claims: dict[str, Any], secret: str = SECRET) -> str:
    """A token as an application signs it."""
    return jwt.encode(claims, secret, algorithm="HS256")


OPEN = b"""{
  "without_namespace": {
    "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true,
    "allow_publish_for_client": true, "allow_publish_for_anonymous": true
  },
  "namespaces": [
    {"name": "private"},
    {"name": "wide", "shards": 4,
     "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true},
    {"name": "kept", "history_size": 10, "history_ttl": "60s", "force_recovery": true,
     "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true,
     "allow_publish_for_client": true, "allow_publish_for_anonymous": true,
     "allow_history_for_client": true, "allow_history_for_anonymous": true},
    {"name": "long", "history_size": 1000, "history_ttl": "60s", "force_recovery": true,
     "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true, "shards": 2},
    {"name": "state", "history_size": 1, "history_ttl": "60s", "force_recovery": true,
     "force_recovery_mode": "cache",
     "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true},
    {"name": "room", "presence": true, "join_leave": true, "force_push_join_leave": true,
     "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true,
     "allow_presence_for_subscriber": true, "allow_presence_for_anonymous": true},
    {"name": "members",
     "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true,
     "allow_publish_for_subscriber": true, "allow_publish_for_anonymous": true}
  ]
}"""


class Clock:
    """Stands still; sleeping moves it, and runs what was put off until then."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now
        self.later: list[Callable[[], None]] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.later:
            self.later.pop(0)()


def in_order(function: Callable[[_A], _R], items: Sequence[_A], /) -> list[_R]:
    """ports.Parallel, one after another."""
    return [function(item) for item in items]


class World:
    """The core, wired as deployed but for its peers; speaks for clients and hears for them."""

    def __init__(
        self,
        *,
        channels: bytes = OPEN,
        clock: Clock | None = None,
        peers: tuple[Store, Streams] | None = None,
        transport: MemoryTransport | None = None,
        **settings: Any,
    ) -> None:
        self.clock = clock or Clock()
        self.store, self.streams = peers or (MemoryStore(self.clock), MemoryStreams(self.clock))
        self.ids = itertools.count(1)
        self.transport = transport or MemoryTransport()
        self.settings = Settings(
            **{
                "stage": "local",
                "region": "eu-west-1",
                "table": "carillon",
                "api_keys": ApiKeys.parse("key", min_characters=1),
                "tokens": TokenConfig(hmac_secret=SECRET),
                "channels": Channels.parse(channels),
                "allow_anonymous": True,
                **settings,
            }
        )
        self.app = bootstrap.build(
            self.settings,
            store=self.store,
            streams=self.streams,
            transport=lambda _endpoint: self.transport,
            parallel=in_order,
            clock=self.clock,
            sleep=self.clock.sleep,
            new_id=self.new_id,
        )
        self.hub, self.notifier = self.app.hub, self.app.notifier

    def open(self, *ids: str) -> None:
        """Open sockets."""
        for connection_id in ids:
            assert self.hub.connect(connection_id, self.clock())

    def say(self, connection_id: str, *frames: object) -> list[Any]:
        """Send frames, text as it is and anything else as JSON; all that came back meanwhile."""
        before = len(self.transport.frames[connection_id])
        for frame in frames:
            text = frame if isinstance(frame, str) else msgspec.json.encode(frame).decode()
            self.hub.receive(connection_id, text, int(self.clock() * 1000))
        return self.heard(connection_id)[before:]

    def join(self, connection_id: str, channel: str) -> None:
        """Open a plain socket and subscribe it."""
        self.open(connection_id)
        answer = self.say(connection_id, {"action": "subscribe", "channel": channel})
        assert answer[0]["event"] == "subscribe", answer

    def append(self, channel: str, options: Options, data: msgspec.Raw) -> None:
        """Write into a stream, as a publisher that dies before it rings the shards."""
        log = Log(self.streams, clock=self.clock, sleep=self.clock.sleep, new_id=self.new_id)
        assert log.append(channel, options, Publication(data)) is not None

    def begin_join(self, connection_id: str, channel: str) -> None:
        """Subscribe a client by a process that dies before the row goes live."""
        connection = self.store.connection(connection_id)
        assert connection is not None
        ask = Subscribe(channel)
        self.app.subscriptions.begin(connection, connection.dialect, 2, ask, wait=0)

    def delete_expired(self) -> None:
        """Do what DynamoDB does some time after items expire."""
        assert isinstance(self.streams, MemoryStreams)
        self.streams.delete_expired()

    def new_id(self) -> str:
        return f"id-{next(self.ids)}"

    def heard(self, connection_id: str) -> list[Any]:
        """Every object that a socket was sent, in order (one a frame of the action dialect)."""
        return [
            msgspec.json.decode(line)
            for frame in self.transport.frames[connection_id]
            for line in frame.split(b"\n")
        ]

    def rows(self, channel: str, shard: int = 0) -> list[str]:
        """The connections that have a row in a shard of a channel."""
        pages = self.store.subscriptions(channel, shard)
        return [row.connection_id for page in pages for row in page]
