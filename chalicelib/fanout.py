"""One message to every subscription of a channel, with an outcome for each recipient."""

from collections.abc import Iterator

from chalicelib import limits
from chalicelib.connections import Connections
from chalicelib.errors import DisconnectCode
from chalicelib.model import Delivery, Disconnect, Post, Report
from chalicelib.ports import Store, Transport
from chalicelib.protocol import DIALECTS
from chalicelib.protocol.commands import Push


class Fanout:
    """Sends to channels. A recipient never hurts a publication or another recipient:

    one that is gone is forgotten, one that cannot be reached within the deadline is cut (3008),
    so that it comes back; everybody else has been sent to by then.
    """

    def __init__(self, store: Store, transport: Transport, connections: Connections) -> None:
        self._store = store
        self._transport = transport
        self._connections = connections

    def send(self, channel: str, shards: int, message: Push, *, exclude: str = "") -> Report:
        """Send a message to every subscription of every shard, but not to ``exclude``."""
        posts = self._posts(channel, shards, message, exclude)
        delivered, gone, failed = 0, [], []
        for connection_id, outcome in self._transport.send(posts, within=limits.FANOUT_SECONDS):
            match outcome:
                case Delivery.DELIVERED:
                    delivered += 1
                case Delivery.GONE:
                    gone.append(connection_id)
                case Delivery.FAILED:
                    failed.append(connection_id)
        self._connections.forget(gone)
        self._connections.cut(failed, Disconnect.of(DisconnectCode.SLOW))
        return Report(delivered, len(gone), len(failed))

    def _posts(self, channel: str, shards: int, message: Push, exclude: str) -> Iterator[Post]:
        """A post a subscription; the message is encoded once a dialect."""
        frames: dict[str, tuple[bytes, ...]] = {}
        for shard in range(shards):
            for page in self._store.subscriptions(channel, shard):
                for row in page:
                    if row.dialect not in frames:
                        frames[row.dialect] = DIALECTS[row.dialect].frames([message])
                    if row.connection_id != exclude:
                        yield Post(row.connection_id, frames[row.dialect])
