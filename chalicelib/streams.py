"""The stream of a channel: writing to it, and reading it without ever skipping anything.

A writer allocates an offset on the head, then writes the slot; it can die in between, which
leaves a hole. A reader that meets one below something written gives it a tenth of a second, and
then fills it with a tombstone, under the same condition that the writer has: that the offset is
free. So exactly one of them wins, a late writer allocates anew, and nobody waits for the dead.

A slot that is missing may also have expired and been deleted, and the difference matters: what
has expired was a publication, and a reader that needed it has a gap. A hole is told from an
expired slot by when it was allocated, which the slot above it (or the head) knows.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from chalicelib import limits
from chalicelib.channels import Options
from chalicelib.errors import ClientError, ErrorCode
from chalicelib.model import Head, Page, Position, Publication, Slot
from chalicelib.ports import Streams, Version


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive publications, complete up to an offset.

    ``gap_below``: what stood below this offset has expired before it was read; 0: nothing did.
    """

    publications: tuple[Publication, ...]
    upto: int
    gap_below: int = 0


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a reader is told: what it missed, up to a position; all of it, or nothing of it."""

    recovered: bool
    publications: tuple[Publication, ...]
    position: Position


class Log:
    """Reads and writes streams, by the options of their namespaces."""

    def __init__(
        self,
        streams: Streams,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        new_id: Callable[[], str],
    ) -> None:
        self._streams = streams
        self._clock = clock
        self._sleep = sleep
        self._new_id = new_id

    # -- Writing

    def append(
        self,
        channel: str,
        options: Options,
        publication: Publication,
        *,
        version: Version | None = None,
        key: str = "",
    ) -> Position | None:
        """Write a publication to the end of the stream; None: its version is not new.

        Raises: ClientError 100 when its offset was taken for dead time and again.
        """
        for _ in range(limits.PUBLISH_TRIES):
            head = self._streams.allocate(
                channel, self._new_id(), keep=options.meta_seconds, version=version
            )
            if head is None:
                return None
            slot = Slot(
                offset=head.top,
                epoch=head.epoch,
                publication=replace(publication, offset=head.top, time=int(head.at * 1000)),
                expires_at=head.at + options.history_seconds,
                prior_at=head.prior_at,
                key=key,
            )
            if self._streams.write(channel, slot):
                return head.position
            version = None  # it is on the head by now
        raise ClientError(ErrorCode.INTERNAL, "the stream did not take the publication")

    def find(self, channel: str, key: str) -> Position | None:
        """Where the publication of an idempotency key is, among the newest ones."""
        page = self._streams.newest(channel, after=0, limit=limits.RECOVERY_PUBLICATIONS)
        for slot in page.slots:
            if slot.key == key and slot.publication:
                return Position(slot.offset, slot.epoch)
        return None

    # -- Reading, for one reader

    def position(self, channel: str, options: Options) -> Position:
        """Where a new reader starts: below everything that is still being written."""
        page = self._streams.newest(channel, after=0, limit=limits.FRESH_LOOK)
        head = page.head or self._begin(channel, options)
        slots = {slot.offset: slot for slot in page.slots}
        horizon = self._clock() - limits.WRITER_SECONDS
        start = head.top
        allocated = head.at  # the latest that the offset at hand can have been allocated
        for offset in range(head.top, max(head.top - limits.FRESH_LOOK, 0), -1):
            slot = slots.get(offset)
            if slot is None:
                if allocated > horizon:
                    start = offset - 1
                allocated = head.prior_at if offset == head.top else allocated
            elif slot.publication is None:
                break  # whoever wrote a tombstone left nothing open below it
            else:
                allocated = slot.prior_at or allocated
        return Position(start, head.epoch)

    def _begin(self, channel: str, options: Options) -> Head:
        head = self._streams.head(channel)
        return head or self._streams.begin(channel, self._new_id(), keep=options.meta_seconds)

    def recover(self, channel: str, options: Options, since: Position) -> Recovery:
        """What came after a position; an empty epoch stands for any."""
        if options.force_recovery_mode == "cache":
            return self._latest(channel, options)
        most = limits.RECOVERY_PUBLICATIONS

        def read() -> Page:
            # The slot at the position itself, if it is there, tells holes from expired slots.
            return self._streams.newest(channel, after=since.offset - 1, limit=most + 2)

        page = read()
        head = page.head
        lost = Recovery(recovered=False, publications=(), position=Position())
        if head is None or since.epoch not in ("", head.epoch):
            return replace(lost, position=self.position(channel, options))
        trimmed = max(head.floor, head.top - options.history_size, head.top - most)
        if not trimmed <= since.offset <= head.top:
            return replace(lost, position=self.position(channel, options))
        stretch = self._settle(channel, options, since.offset, page, read)
        if stretch.gap_below:
            return replace(lost, position=self.position(channel, options))
        position = Position(stretch.upto, head.epoch)
        return Recovery(recovered=True, publications=stretch.publications, position=position)

    def _latest(self, channel: str, options: Options) -> Recovery:
        """In cache mode a reader needs the newest publication, and no other."""
        position = self.position(channel, options)
        page = self._streams.newest(channel, after=0, limit=limits.FRESH_LOOK)
        visible = self._visible(page, page.head, options) if page.head else ()
        newest = tuple(p for p in visible if p.offset <= position.offset)[-1:]
        return Recovery(recovered=bool(newest), publications=newest, position=position)

    def onward(self, channel: str, options: Options, since: Position) -> Stretch:
        """What came after a position that this reader has just read up to."""

        def read() -> Page:
            return _of_life(self._oldest(channel, since.offset), since.epoch)

        return self._settle(channel, options, since.offset, read(), read, for_shard=True)

    # -- Reading, for history

    def history(
        self,
        channel: str,
        options: Options,
        *,
        limit: int,
        since: Position | None,
        reverse: bool,
    ) -> tuple[tuple[Publication, ...], Position]:
        """Publications and the top; none with a limit of 0, all that fits with a negative one.

        From the oldest after ``since`` upward, or in reverse from the newest before it downward.
        Raises: ClientError 112 when ``since`` is of another life of the stream.
        """
        head = self._begin(channel, options)
        if since and since.epoch not in ("", head.epoch):
            raise ClientError(ErrorCode.UNRECOVERABLE_POSITION)
        if limit == 0:
            return (), head.position
        most = limits.RECOVERY_PUBLICATIONS
        wanted = most if limit < 0 else min(limit, most)
        floor = max(head.floor, head.top - options.history_size)
        if reverse:
            before = since.offset if since else head.top + 1
            page = self._streams.below(channel, before=before, after=floor, limit=wanted)
            return self._visible(page, head, options)[::-1], head.position
        after = max(floor, since.offset if since else 0)
        page = self._streams.oldest(channel, after=after, limit=wanted)
        return self._visible(page, head, options), head.position

    def _visible(self, page: Page, head: Head, options: Options) -> tuple[Publication, ...]:
        """The publications of a page that exist for readers."""
        floor = max(head.floor, head.top - options.history_size)
        now = self._clock()
        return tuple(
            slot.publication
            for slot in page.slots
            if slot.publication
            and slot.offset > floor
            and slot.expires_at > now
            and slot.epoch == head.epoch
        )

    # -- Reading, for a shard

    def backlog(self, channel: str, options: Options, sent: Position) -> tuple[Stretch, Head]:
        """What a shard that was sent up to a position is to be sent next, and the head.

        The position is 0 in another life of the stream. What has expired is sent all the same.
        """
        page = self._oldest(channel, sent.offset)
        head = page.head or self._begin(channel, options)
        offset = sent.offset
        if sent.epoch != head.epoch and offset:
            offset = 0
            page = self._oldest(channel, offset)

        def read() -> Page:
            return _of_life(self._oldest(channel, offset), head.epoch)

        page = _of_life(page, head.epoch)
        return self._settle(channel, options, offset, page, read, for_shard=True), head

    def _oldest(self, channel: str, offset: int) -> Page:
        return self._streams.oldest(channel, after=offset - 1, limit=limits.DRAIN_PUBLICATIONS)

    # -- Holes

    def _settle(
        self,
        channel: str,
        options: Options,
        since: int,
        page: Page,
        read: Callable[[], Page],
        *,
        for_shard: bool = False,
    ) -> Stretch:
        """The consecutive slots after an offset, once nobody can write below the last of them.

        ``for_shard``: the reader goes on whatever is missing. So all holes are filled, and what
        has expired but still stands there is read like anything else.
        """
        for pause in limits.HOLE_LOOKS_SECONDS:
            if not _holes(page, since):
                break
            self._sleep(pause)
            page = read()
        holes = _holes(page, since)
        dead = set(self._dead(page, since, options))
        for offset in holes:
            if offset in dead or for_shard:
                self._bury(channel, options, page, offset, lost=offset not in dead)
        if holes:
            page = read()
        return self._stretch(page, since, options, for_shard=for_shard)

    def _dead(self, page: Page, since: int, options: Options) -> Iterator[int]:
        """The holes that cannot be slots that have expired."""
        oldest_alive = min(
            (slot.offset for slot in page.slots if slot.expires_at > self._clock()), default=None
        )
        allocated = _allocations(page)
        for offset in _holes(page, since):
            expires_at = allocated.get(offset, 0.0) + options.history_seconds
            above_alive = oldest_alive is not None and offset > oldest_alive
            if above_alive or expires_at > self._clock():
                yield offset

    def _bury(self, channel: str, options: Options, page: Page, offset: int, *, lost: bool) -> None:
        """Write a tombstone, unless the writer came first after all."""
        epoch = page.slots[-1].epoch
        expires_at = self._clock() + options.history_seconds
        self._streams.write(channel, Slot(offset, epoch, None, expires_at, lost=lost))

    def _stretch(self, page: Page, since: int, options: Options, *, for_shard: bool) -> Stretch:
        slots = [slot for slot in page.slots if slot.offset > since]
        gap_below = 0
        if slots and slots[0].offset > since + 1:
            gap_below = slots[0].offset
        elif not slots and self._has_expired(page, since, options, for_shard=for_shard):
            gap_below = page.head.top + 1 if page.head else 0
        run = list(_run(slots))
        now = self._clock()
        missing = [s for s in run if s.lost or (s.expires_at <= now and not for_shard)]
        if missing:
            gap_below = missing[-1].offset + 1
        upto = run[-1].offset if run else max(since, gap_below - 1)
        return Stretch(tuple(s.publication for s in run if s.publication), upto, gap_below)

    def _has_expired(self, page: Page, since: int, options: Options, *, for_shard: bool) -> bool:
        """Whether what should follow an offset, where nothing does, has expired.

        Where that cannot be told a shard waits for it, and a reader does not rely on it.
        """
        head = page.head
        if head is None or head.top <= since:
            return False
        now = self._clock()
        if any(slot.expires_at > now for slot in page.slots):
            return False
        allocated = _allocations(page).get(since + 1)
        if allocated is not None:
            return allocated + options.history_seconds <= now
        written_by_now = head.prior_at <= now - limits.WRITER_SECONDS
        return written_by_now or not for_shard


def _of_life(page: Page, epoch: str) -> Page:
    """The page without slots of another life, which have expired but are not deleted yet."""
    return replace(page, slots=tuple(slot for slot in page.slots if slot.epoch == epoch))


def _holes(page: Page, since: int) -> list[int]:
    """The offsets after ``since`` that are missing below one that is written.

    Where very many are missing in a row they have expired, but for the last of them: no such
    number of writers dies at once.
    """
    written = [since, *(slot.offset for slot in page.slots if slot.offset > since)]
    return [
        hole
        for low, high in pairwise(written)
        for hole in range(max(low + 1, high - limits.RECOVERY_PUBLICATIONS), high)
    ]


def _allocations(page: Page) -> Mapping[int, float]:
    """When offsets were allocated, as far as what stands above them tells."""
    known = {slot.offset - 1: slot.prior_at for slot in page.slots if slot.prior_at}
    if page.head and page.head.at:
        known[page.head.top] = page.head.at
        if page.head.prior_at:
            known[page.head.top - 1] = page.head.prior_at
    return known


def _run(slots: list[Slot]) -> Iterator[Slot]:
    """The slots from the first one up to where an offset is missing."""
    for place, slot in enumerate(slots):
        if slot.offset != slots[0].offset + place:
            return
        yield slot
