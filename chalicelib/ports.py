"""What the core asks of the world, as Protocols; the docstrings carry the guarantees."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from chalicelib.model import Delivery, Post


class Transport(Protocol):
    """The way to connections: API Gateway's management API, or memory.

    Each verb takes many recipients, pulls them lazily and yields one ``(connection id, outcome)``
    a recipient, in any order; the caller exhausts the iterator. One recipient never delays or
    fails another: 429, 5xx and network errors are retried for that recipient with capped backoff
    and jitter until ``within`` seconds have passed since the call, then it is FAILED. No verb
    raises for a recipient.
    """

    def send(self, posts: Iterable[Post], *, within: float) -> Iterator[tuple[str, Delivery]]:
        """Post the frames of each recipient in order, recipients concurrently (at least once)."""
        ...

    def probe(self, ids: Iterable[str], *, within: float) -> Iterator[tuple[str, Delivery]]:
        """Ask whether each connection exists, without sending it anything."""
        ...

    def close(self, ids: Iterable[str], *, within: float) -> Iterator[tuple[str, Delivery]]:
        """Cut each connection; DELIVERED when it was cut now, GONE when it was cut before."""
        ...
