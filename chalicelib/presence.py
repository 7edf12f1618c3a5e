"""Who is in a channel, and telling the others who comes and goes."""

from collections import deque
from collections.abc import Iterable
from threading import local

from chalicelib.channels import Channels, Options
from chalicelib.fanout import Fanout
from chalicelib.model import ClientInfo, Subscription
from chalicelib.ports import Store
from chalicelib.protocol.commands import Join, Leave


class Presence:
    """Counts the rows of a channel; they go with their connections, at the latest by the sweep."""

    def __init__(self, store: Store, fanout: Fanout, channels: Channels) -> None:
        self._store = store
        self._fanout = fanout
        self._channels = channels
        self._announcing = local()

    def members(self, channel: str, options: Options) -> dict[str, ClientInfo]:
        """Everybody in a channel, by client id."""
        return {
            row.connection_id: row.client_info
            for shard in range(options.all_shards)
            for page in self._store.subscriptions(channel, shard)
            for row in page
        }

    def joined(self, row: Subscription) -> None:
        """Tell a channel that a subscription is live."""
        self._announce([Join(row.channel, row.client_info)])

    def left(self, rows: Iterable[Subscription]) -> None:
        """Tell channels that subscriptions have ended."""
        self._announce([Leave(row.channel, row.client_info) for row in rows])

    def _announce(self, pushes: list[Join] | list[Leave]) -> None:
        """Send pushes, and those that they lead to: a recipient that is gone leaves as well."""
        waiting: deque[Join | Leave] | None = getattr(self._announcing, "waiting", None)
        if waiting is not None:
            waiting.extend(pushes)
            return
        self._announcing.waiting = waiting = deque(pushes)
        try:
            while waiting:
                push = waiting.popleft()
                options = self._channels.find(push.channel)
                if options and options.join_leave:
                    self._fanout.send(push.channel, push, to=lambda row: row.hears_joins)
        finally:
            del self._announcing.waiting
