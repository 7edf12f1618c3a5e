"""Connections in memory: the peer of the management API for tests."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from chalicelib.model import Delivery, Post

THROTTLE_PAUSE = 0.1  # seconds that each throttled try is taken to cost, of ``within``


class MemoryTransport:
    """``ports.Transport`` that remembers; every connection is live until told otherwise.

    Attributes:
        frames: what each connection received, in order.
        probed: how often each connection was asked for.
        closed: the connections that ``close`` cut, in order.
    """

    def __init__(self) -> None:
        self.frames: dict[str, list[bytes]] = defaultdict(list)
        self.probed: Counter[str] = Counter()
        self.closed: list[str] = []
        self._gone: set[str] = set()
        self._failing: dict[str, int] = {}
        self._throttled: dict[str, int] = {}

    # The script.

    def lose(self, connection_id: str) -> None:
        """From now on the connection is gone."""
        self._gone.add(connection_id)

    def fail(self, connection_id: str, *, after: int = 0) -> None:
        """From now on the connection refuses everything, once it has received ``after`` frames."""
        self._failing[connection_id] = after

    def throttle(self, connection_id: str, times: int) -> None:
        """Answer the next ``times`` requests for the connection with 429."""
        self._throttled[connection_id] = times

    # The port.

    def send(self, posts: Iterable[Post], *, within: float) -> Iterator[tuple[str, Delivery]]:
        """Post the frames of each recipient in order."""
        for post in posts:
            yield post.connection_id, self._send(post, within)

    def probe(self, ids: Iterable[str], *, within: float) -> Iterator[tuple[str, Delivery]]:
        """Ask whether each connection exists."""
        for connection_id in ids:
            self.probed[connection_id] += 1
            yield connection_id, self._refusal(connection_id, within) or Delivery.DELIVERED

    def close(self, ids: Iterable[str], *, within: float) -> Iterator[tuple[str, Delivery]]:
        """Cut each connection."""
        for connection_id in ids:
            outcome = self._refusal(connection_id, within)
            if outcome is None:
                self.closed.append(connection_id)
                self.lose(connection_id)
            yield connection_id, outcome or Delivery.DELIVERED

    def _send(self, post: Post, within: float) -> Delivery:
        for frame in post.frames:
            refusal = self._refusal(post.connection_id, within)
            if refusal is not None:
                return refusal
            self.frames[post.connection_id].append(frame)
        return Delivery.DELIVERED

    def _refusal(self, connection_id: str, within: float) -> Delivery | None:
        if within <= 0:
            return Delivery.FAILED
        if connection_id in self._gone:
            return Delivery.GONE
        after = self._failing.get(connection_id)
        if after is not None and len(self.frames.get(connection_id, ())) >= after:
            return Delivery.FAILED
        tries = min(self._throttled.get(connection_id, 0), int(within / THROTTLE_PAUSE) + 1)
        if tries:
            self._throttled[connection_id] -= tries
        return Delivery.FAILED if tries * THROTTLE_PAUSE >= within else None
