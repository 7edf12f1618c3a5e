"""Streams, cursors and idempotency keys in DynamoDB."""

from chalicelib import limits
from chalicelib.errors import StoreError
from chalicelib.model import Cursor, Head, Page, Position, Slot
from chalicelib.ports import Claim, ClaimState, Reached, Streams, Version
from chalicelib.store import keys
from chalicelib.store.table import Table

# Times that a write is tried whose two conditions exclude each other, while others write as well.
TRIES = 16

# Conditions, by what they say in English.
ABSENT = "attribute_not_exists(pk)"
ALIVE = "(attribute_not_exists(pk) OR expires_at > :now)"
EXPIRED = "(attribute_not_exists(pk) OR expires_at <= :now)"
NEWER = "(attribute_not_exists(version) OR version_epoch <> :vepoch OR version < :version)"
FREE = "(attribute_not_exists(holder) OR held_until <= :now)"
HELD = "attribute_exists(holder) AND held_until > :now"
MINE = "holder = :holder"
NOT_RUNG_SINCE = "rings <= :rings"
CLAIMABLE = f"({EXPIRED} OR (attribute_not_exists(sent_offset) AND claimed_until <= :now))"
SAME_BODY = "(attribute_not_exists(pk) OR expires_at <= :now OR digest = :digest)"


class DynamoStreams:
    """A ports.Streams in a table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def _in(self, seconds: float) -> dict[str, str]:
        return {"N": repr(self._table.clock() + seconds)}

    # -- Streams

    def allocate(
        self, channel: str, epoch: str, *, keep: float, version: Version | None = None
    ) -> Head | None:
        versioned = {}
        if version:
            versioned = {
                ":version": {"N": str(version.number)},
                ":vepoch": {"S": version.epoch},
            }
        for _ in range(TRIES):
            written = self._table.update(
                keys.head_key(channel),
                "SET epoch = if_not_exists(epoch, :epoch), expires_at = :until,"
                " prior_at = if_not_exists(allocated_at, :zero), allocated_at = :now"
                + (", version = :version, version_epoch = :vepoch" if version else "")
                + " ADD top :one",
                ConditionExpression=f"{ALIVE} AND {NEWER}" if version else ALIVE,
                ExpressionAttributeValues={
                    ":epoch": {"S": epoch},
                    ":until": self._in(keep),
                    ":now": self._table.now(),
                    ":zero": {"N": "0"},
                    ":one": {"N": "1"},
                    **versioned,
                },
                ReturnValues="ALL_NEW",
            )
            if written.done:
                return keys.read_head(written.item)
            if self._alive(written.item):
                return None  # the version is not newer
            self.begin(channel, epoch, keep=keep)
        raise StoreError("the stream's head keeps expiring")

    def write(self, channel: str, slot: Slot) -> bool:
        written = self._table.put(
            keys.slot_item(channel, slot),
            ConditionExpression=EXPIRED,
            ExpressionAttributeValues={":now": self._table.now()},
        )
        if written.done or slot.publication is None:
            return written.done
        # The answer to a write that was done may be lost, and the write made again. Nobody else
        # was given the offset, so a publication that stands there is this one.
        there = keys.read_slot(written.item)
        return there.publication is not None and there.epoch == slot.epoch

    def head(self, channel: str) -> Head | None:
        item = self._table.get(keys.head_key(channel))
        return keys.read_head(item) if item and self._alive(item) else None

    def _alive(self, item: keys.Item) -> bool:
        return bool(item) and keys.expiry(item) > self._table.clock()

    def begin(self, channel: str, epoch: str, *, keep: float) -> Head:
        new = Head(0, epoch, at=0)
        for _ in range(TRIES):
            written = self._table.put(
                keys.head_item(channel, new, self._table.clock() + keep),
                ConditionExpression=EXPIRED,
                ExpressionAttributeValues={":now": self._table.now()},
            )
            if written.done:
                return new
            if self._alive(written.item):
                return keys.read_head(written.item)
        raise StoreError("the stream's head keeps expiring")

    def newest(self, channel: str, *, after: int, limit: int) -> Page:
        items = self._between(channel, after, keys.HEAD, most=limit + 1, forward=False)
        if not items or items[0]["sk"]["S"] != keys.HEAD or not self._alive(items[0]):
            return Page(None, ())
        head = keys.read_head(items[0])
        slots = [keys.read_slot(item) for item in reversed(items[1:])]
        return Page(head, tuple(slot for slot in slots if slot.epoch == head.epoch))

    def oldest(self, channel: str, *, after: int, limit: int) -> Page:
        items = self._between(channel, after, keys.HEAD, most=limit, forward=True)
        head = None
        if items and items[-1]["sk"]["S"] == keys.HEAD:
            last = items.pop()
            head = keys.read_head(last) if self._alive(last) else None
        return Page(head, tuple(keys.read_slot(item) for item in items))

    def below(self, channel: str, *, before: int, after: int, limit: int) -> Page:
        if before <= after + 1:
            return Page(None, ())
        last = keys.offset_key(before - 1)
        items = self._between(channel, after, last, most=limit, forward=False)
        return Page(None, tuple(keys.read_slot(item) for item in reversed(items)))

    def _between(
        self, channel: str, after: int, last: str, *, most: int, forward: bool
    ) -> list[keys.Item]:
        pages = self._table.query(
            "pk = :pk AND sk BETWEEN :first AND :last",
            most=most,
            ScanIndexForward=forward,
            ExpressionAttributeValues={
                ":pk": {"S": keys.stream_partition(channel)},
                ":first": {"S": keys.offset_key(after + 1)},
                ":last": {"S": last},
            },
        )
        return [item for page in pages for item in page]

    def remove_history(self, channel: str) -> None:
        self._table.update(
            keys.head_key(channel),
            "SET floor_offset = top",
            ConditionExpression="attribute_exists(pk)",
        )

    # -- Cursors

    def cursor(self, channel: str, shard: int) -> Cursor:
        return keys.read_cursor(self._table.get(keys.cursor_key(channel, shard)) or {})

    def take(self, channel: str, shard: int, holder: str, *, until: float) -> Cursor | None:
        key = keys.cursor_key(channel, shard)
        rung = {":one": {"N": "1"}, ":now": self._table.now()}
        for _ in range(TRIES):
            taken = self._table.update(
                key,
                "SET holder = :holder, held_until = :until, expires_at = :kept ADD rings :one",
                ConditionExpression=FREE,
                ExpressionAttributeValues={
                    ":holder": {"S": holder},
                    ":until": {"N": repr(until)},
                    ":kept": self._in(limits.CURSOR_SECONDS),
                    **rung,
                },
                ReturnValues="ALL_NEW",
            )
            if taken.done or keys.holder(taken.item) == holder:
                return keys.read_cursor(taken.item)
            ring = self._table.update(
                key,
                "ADD rings :one",
                ConditionExpression=HELD,
                ExpressionAttributeValues=rung,
            )
            if ring.done:
                return None
        raise StoreError("the shard is taken and let go of all the time")

    def advance(self, channel: str, shard: int, reached: Reached) -> Cursor | None:
        key = keys.cursor_key(channel, shard)
        values = {
            ":holder": {"S": reached.holder},
            ":sent": {"N": str(reached.sent.offset)},
            ":epoch": {"S": reached.sent.epoch},
        }
        noted = "SET sent = :sent, epoch = :epoch"
        released = self._table.update(
            key,
            f"{noted} REMOVE holder, held_until",
            ConditionExpression=f"{MINE} AND {NOT_RUNG_SINCE}",
            ExpressionAttributeValues={**values, ":rings": {"N": str(reached.rings)}},
        )
        if released.done:
            return None
        held = self._table.update(
            key,
            f"{noted}, held_until = :until",
            ConditionExpression=MINE,
            ExpressionAttributeValues={**values, ":until": {"N": repr(reached.until)}},
            ReturnValues="ALL_NEW",
        )
        return keys.read_cursor(held.item) if held.done else None

    # -- Idempotency keys

    def claim(self, channel: str, key: str, digest: str) -> Claim:
        written = self._table.put(
            {
                **keys.idempotency_key(channel, key),
                "digest": {"S": digest},
                "claimed_until": self._in(limits.IDEMPOTENCY_CLAIM_SECONDS),
                "expires_at": self._in(limits.IDEMPOTENCY_SECONDS),
            },
            ConditionExpression=f"{CLAIMABLE} AND {SAME_BODY}",
            ExpressionAttributeValues={":now": self._table.now(), ":digest": {"S": digest}},
            ReturnValues="ALL_OLD",
        )
        if written.done:
            taken_over = self._alive(written.item)
            return Claim(ClaimState.TAKEN_OVER if taken_over else ClaimState.NEW)
        theirs, position = keys.read_claimed(written.item)
        if theirs != digest:
            return Claim(ClaimState.OTHER_BODY)
        return Claim(ClaimState.DONE, position) if position else Claim(ClaimState.BUSY)

    def complete(self, channel: str, key: str, digest: str, position: Position) -> None:
        self._table.update(
            keys.idempotency_key(channel, key),
            "SET digest = :digest, sent_offset = :offset, epoch = :epoch, expires_at = :until",
            ExpressionAttributeValues={
                ":digest": {"S": digest},
                ":offset": {"N": str(position.offset)},
                ":epoch": {"S": position.epoch},
                ":until": self._in(limits.IDEMPOTENCY_SECONDS),
            },
        )


def _conforms(streams: DynamoStreams) -> Streams:
    return streams
