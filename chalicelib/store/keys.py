"""The table's layout: the only file that spells a key or an attribute.

docs/data-model.md has the access patterns.
"""

from collections.abc import Mapping
from typing import Any
from zlib import crc32

import msgspec

from chalicelib.model import (
    ClientInfo,
    Connection,
    Cursor,
    Head,
    Identity,
    Left,
    Membership,
    Position,
    Publication,
    Slot,
    Subscription,
)

Item = Mapping[str, Mapping[str, Any]]  # attribute → {type letter: value}, as DynamoDB's API has it
Key = dict[str, dict[str, str]]

CONNECTION_BUCKETS = 16
BEFORE_ALL = " "  # sorts before every sort key that there is, and may not be empty


def _key(pk: str, sk: str) -> Key:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _number(value: float) -> dict[str, str]:
    """DynamoDB takes numbers as text; whole ones without a fraction."""
    return {"N": str(int(value)) if value == int(value) else repr(value)}


def _read(item: Item, name: str) -> float:
    return float(item[name]["N"])


def _optional(item: Item, name: str) -> float:
    return float(item[name]["N"]) if name in item else 0.0


def _text(item: Item, name: str) -> str:
    return str(item[name]["S"]) if name in item else ""


def expiry(item: Item) -> float:
    """When an item expires, in seconds since the epoch."""
    return _read(item, "expires_at")


# -- Connections: conn#<bucket> / <connection id> -------------------------------------------------


def bucket_partition(bucket: int) -> str:
    return f"conn#{bucket}"


def connection_key(connection_id: str) -> Key:
    bucket = crc32(connection_id.encode()) % CONNECTION_BUCKETS
    return _key(bucket_partition(bucket), connection_id)


def connection_item(connection: Connection) -> dict[str, Any]:
    item: dict[str, Any] = {
        **connection_key(connection.id),
        "connected_at": _number(connection.connected_at),
        "expires_at": _number(connection.expires_at),
        "channels": {"M": {c: {"M": entry_map(m)} for c, m in connection.channels.items()}},
        "left": {"M": {c: {"M": left_map(m)} for c, m in connection.left.items()}},
    }
    if connection.dialect:
        item["dialect"] = {"S": connection.dialect}
    item["identity"] = {"M": identity_map(connection.identity)}
    if connection.closing:
        item["closing"] = {"BOOL": True}
    return item


def identity_map(identity: Identity) -> dict[str, Any]:
    return {
        "user": {"S": identity.user},
        "info": {"S": identity.info},
        "capabilities": {"S": identity.capabilities},
        "ends_at": _number(identity.ends_at),
    }


def _read_identity(item: Item) -> Identity:
    return Identity(
        user=_text(item, "user"),
        info=_text(item, "info"),
        capabilities=_text(item, "capabilities"),
        ends_at=_read(item, "ends_at"),
    )


# -- A user's connections: user#<user> / <connection id> ------------------------------------------


def user_partition(user: str) -> str:
    return f"user#{user}"


def user_item(user: str, connection_id: str, expires_at: float) -> dict[str, Any]:
    return {**_key(user_partition(user), connection_id), "expires_at": _number(expires_at)}


def rows_of(connection: Connection) -> list[Key]:
    """The keys of everything that a connection has beside itself."""
    rows = [subscription_key(row) for row in connection.subscriptions]
    user = [_key(user_partition(connection.user), connection.id)] if connection.user else []
    return [*rows, *user]


def entry_map(entry: Membership) -> dict[str, Any]:
    return {
        "shard": _number(entry.shard),
        "order": _number(entry.order),
        "at": _number(entry.at),
    }


def left_map(left: Left) -> dict[str, Any]:
    return {"order": _number(left.order), "at": _number(left.at)}


def read_connection(item: Item) -> Connection:
    channels: Mapping[str, Any] = item["channels"]["M"]
    left: Mapping[str, Any] = item["left"]["M"]
    return Connection(
        id=_text(item, "sk"),
        connected_at=_read(item, "connected_at"),
        expires_at=_read(item, "expires_at"),
        dialect=_text(item, "dialect"),
        identity=_read_identity(item["identity"]["M"]),
        closing="closing" in item,
        channels={c: read_entry(m["M"]) for c, m in channels.items()},
        left={
            c: Left(int(m["M"]["order"]["N"]), float(m["M"]["at"]["N"])) for c, m in left.items()
        },
    )


def read_entry(entry: Item) -> Membership:
    return Membership(int(entry["shard"]["N"]), int(entry["order"]["N"]), float(entry["at"]["N"]))


# -- Subscriptions: chan#<channel>#<shard> / <connection id> --------------------------------------


def shard_partition(channel: str, shard: int) -> str:
    return f"chan#{channel}#{shard}"


def subscription_key(subscription: Subscription) -> Key:
    return row_key(subscription.channel, subscription.shard, subscription.connection_id)


def row_key(channel: str, shard: int, connection_id: str) -> Key:
    return _key(shard_partition(channel, shard), connection_id)


def subscription_item(subscription: Subscription) -> dict[str, Any]:
    item: dict[str, Any] = {
        **subscription_key(subscription),
        "join": _number(subscription.order),
        "dialect": {"S": subscription.dialect},
        "expires_at": _number(subscription.expires_at),
    }
    if subscription.batch:
        item["batch"] = {"BOOL": True}
    if subscription.hears_joins:
        item["hears_joins"] = {"BOOL": True}
    if subscription.user:
        item["user"] = {"S": subscription.user}
    if subscription.info:
        item["info"] = {"S": subscription.info}
    if subscription.token_ends_at:
        item["token_ends_at"] = _number(subscription.token_ends_at)
    if subscription.skip_after:
        item["skip_after"] = _number(subscription.skip_after)
    if subscription.joining_since:
        item["joining_since"] = _number(subscription.joining_since)
    if subscription.deliver_after:
        item["deliver_after"] = _number(subscription.deliver_after)
    if subscription.epoch:
        item["epoch"] = {"S": subscription.epoch}
    return item


def read_subscription(channel: str, shard: int, item: Item) -> Subscription:
    return Subscription(
        channel=channel,
        shard=shard,
        connection_id=item["sk"]["S"],
        order=int(item["join"]["N"]),
        dialect=item["dialect"]["S"],
        expires_at=float(item["expires_at"]["N"]),
        batch="batch" in item,
        user=_text(item, "user"),
        info=_text(item, "info"),
        token_ends_at=_optional(item, "token_ends_at"),
        skip_after=_optional(item, "skip_after"),
        hears_joins="hears_joins" in item,
        joining_since=_optional(item, "joining_since"),
        deliver_after=int(_optional(item, "deliver_after")),
        epoch=_text(item, "epoch"),
        missed=int(_optional(item, "missed")),
    )


# -- Streams: stream#<channel> / <offset, 20 digits> or head --------------------------------------

HEAD = "head"  # sorts after all digits, so that one query reads it and the newest slots


def stream_partition(channel: str) -> str:
    return f"stream#{channel}"


def offset_key(offset: int) -> str:
    return f"{offset:020d}"


def head_key(channel: str) -> Key:
    return _key(stream_partition(channel), HEAD)


def head_item(channel: str, head: Head, expires_at: float) -> dict[str, Any]:
    return {
        **head_key(channel),
        "top": _number(head.top),
        "epoch": {"S": head.epoch},
        "allocated_at": _number(head.at),
        "prior_at": _number(head.prior_at),
        "expires_at": _number(expires_at),
    }


def read_head(item: Item) -> Head:
    return Head(
        top=int(item["top"]["N"]),
        epoch=item["epoch"]["S"],
        at=_read(item, "allocated_at"),
        prior_at=_optional(item, "prior_at"),
        floor=int(_optional(item, "floor_offset")),
    )


def slot_item(channel: str, slot: Slot) -> dict[str, Any]:
    item: dict[str, Any] = {
        **_key(stream_partition(channel), offset_key(slot.offset)),
        "epoch": {"S": slot.epoch},
        "expires_at": _number(slot.expires_at),
    }
    if slot.prior_at:
        item["prior_at"] = _number(slot.prior_at)
    if slot.key:
        item["key"] = {"S": slot.key}
    if slot.lost:
        item["lost"] = {"BOOL": True}
    publication = slot.publication
    if publication is not None:
        item["data"] = {"S": bytes(publication.data).decode()}
        item["time"] = _number(publication.time)
        if publication.info is not None:
            item["info"] = {"S": msgspec.json.encode(publication.info).decode()}
        if publication.tags:
            item["tags"] = {"S": msgspec.json.encode(publication.tags).decode()}
        if publication.exclude:
            item["exclude"] = {"S": publication.exclude}
    return item


def read_slot(item: Item) -> Slot:
    return Slot(
        offset=int(item["sk"]["S"]),
        epoch=item["epoch"]["S"],
        publication=_read_publication(item) if "data" in item else None,
        expires_at=_read(item, "expires_at"),
        prior_at=_optional(item, "prior_at"),
        key=_text(item, "key"),
        lost="lost" in item,
    )


def _read_publication(item: Item) -> Publication:
    return Publication(
        data=msgspec.Raw(item["data"]["S"].encode()),
        info=msgspec.json.decode(item["info"]["S"], type=ClientInfo) if "info" in item else None,
        tags=msgspec.json.decode(item["tags"]["S"]) if "tags" in item else None,
        offset=int(item["sk"]["S"]),
        time=int(item["time"]["N"]),
        exclude=_text(item, "exclude"),
    )


# -- Cursors: fan#<channel> / <shard> -------------------------------------------------------------


def cursor_key(channel: str, shard: int) -> Key:
    return _key(f"fan#{channel}", str(shard))


def read_cursor(item: Item) -> Cursor:
    return Cursor(
        sent=int(_optional(item, "sent")),
        epoch=_text(item, "epoch"),
        rings=int(_optional(item, "rings")),
    )


def holder(item: Item) -> str:
    """Who holds a shard; empty if nobody ever did, or it was let go of."""
    return _text(item, "holder")


# -- Idempotency keys: idem#<channel> / <key> -----------------------------------------------------


def idempotency_key(channel: str, key: str) -> Key:
    return _key(f"idem#{channel}", key)


def read_claimed(item: Item) -> tuple[str, Position | None]:
    """The digest of the body that a key was claimed for, and where it went if it is done."""
    done = "sent_offset" in item
    position = Position(int(item["sent_offset"]["N"]), _text(item, "epoch")) if done else None
    return _text(item, "digest"), position


# -- Facts about the deployment: meta / <name> ----------------------------------------------------


def fact_key(name: str) -> Key:
    return _key("meta", name)


def fact_item(name: str, value: str) -> dict[str, Any]:
    return {**fact_key(name), "value": {"S": value}}


def read_fact(item: Item) -> str:
    return _text(item, "value")
