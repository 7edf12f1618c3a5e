"""How connections end: forgotten when they are gone, cut when they may not go on."""

from collections.abc import Callable, Iterable, Sequence

from chalicelib import limits, logs
from chalicelib.errors import DisconnectCode
from chalicelib.model import Connection, Delivery, Disconnect, Post, Subscription
from chalicelib.ports import Parallel, Store, Transport
from chalicelib.protocol import DIALECTS, choose


class Connections:
    """Ends connections, each with all that it subscribed to and nothing else.

    Every step may be repeated, and may be interrupted: what is left behind is found by the next
    publication that meets a 410, and by the items' expiry.
    """

    def __init__(self, store: Store, transport: Transport, parallel: Parallel) -> None:
        self._store = store
        self._transport = transport
        self._parallel = parallel
        self._when_left: Callable[[Iterable[Subscription]], None] = lambda _rows: None

    def tell_when_left(self, hear: Callable[[Iterable[Subscription]], None]) -> None:
        """Have the ended subscriptions told: a hook, since telling means sending, which ends some.

        Whoever wins the removal of a connection tells; nobody tells it twice.
        """
        self._when_left = hear

    def forget(self, ids: Iterable[str]) -> None:
        """Remove connections that exist no longer, and their subscriptions."""
        self._take_all(self._store.remove_connection, ids)

    def cut(self, ids: Iterable[str], why: Disconnect, *, dialect: str = "") -> None:
        """Take connections' subscriptions, then tell them why, then close them.

        ``dialect`` is what those are told in that have none yet.

        In this order, so that a client which is not told, or does not hear, gets nothing more.
        A connection that could not be closed stays marked as closing.
        """
        closing = self._take_all(self._store.mark_closing, ids)
        spoken = [(c.id, c.dialect or dialect) for c in closing]
        self._tell(Post(each, _farewell(speech, why)) for each, speech in spoken if speech)
        self.close([c.id for c in closing])

    def post(self, post: Post) -> bool:
        """Send to one connection; whether it got it. Else it is gone and forgotten, or cut."""
        for connection_id, delivery in self._transport.send([post], within=limits.REPLY_SECONDS):
            if delivery is Delivery.GONE:
                self.forget([connection_id])
            elif delivery is Delivery.FAILED:
                self.cut([connection_id], Disconnect.of(DisconnectCode.SLOW))
            else:
                return True
        return False

    def turn_away(self, connection_id: str, frame: str, why: Disconnect) -> None:
        """Tell a socket of which nothing is known why it is closed, in the dialect of its frame."""
        self._tell([Post(connection_id, _farewell(choose("", frame).name, why))])
        self.close([connection_id])

    def _take_all(
        self, take: Callable[[str], Connection | None], ids: Iterable[str]
    ) -> Sequence[Connection]:
        taken = [c for c in self._parallel(take, list(ids)) if c is not None]
        self._store.remove_rows(taken)
        # One that was closing already has left: whoever marked it told so.
        self._when_left([row for c in taken if not c.closing for row in c.subscriptions])
        return taken

    def _tell(self, posts: Iterable[Post]) -> None:
        for connection_id, delivery in self._transport.send(posts, within=limits.REPLY_SECONDS):
            if delivery is Delivery.FAILED:
                logs.warning("farewell_failed", connection=connection_id)

    def close(self, ids: Sequence[str]) -> None:
        """Close connections that were marked; one that cannot be closed stays marked."""
        closed = []
        for connection_id, delivery in self._transport.close(ids, within=limits.REPLY_SECONDS):
            if delivery is Delivery.FAILED:
                logs.warning("close_failed", connection=connection_id)
            else:
                closed.append(connection_id)
        # With their rows: whoever marked them may have died before those were removed.
        self._take_all(self._store.remove_connection, closed)


def _farewell(dialect: str, why: Disconnect) -> tuple[bytes, ...]:
    return DIALECTS[dialect].frames([why])
