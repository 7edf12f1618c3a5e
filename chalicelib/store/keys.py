"""The table's layout: the only file that spells a key or an attribute.

docs/data-model.md has the access patterns.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

from chalicelib.model import Connection, Left, Membership, Subscription

Item = Mapping[str, Mapping[str, Any]]  # attribute → {type letter: value}, as DynamoDB's API has it
Key = dict[str, dict[str, str]]

CONNECTION_BUCKETS = 16


def _key(pk: str, sk: str) -> Key:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _number(value: float) -> dict[str, str]:
    """DynamoDB takes numbers as text; whole ones without a fraction."""
    return {"N": str(int(value)) if value == int(value) else repr(value)}


def _read(item: Item, name: str) -> float:
    return float(item[name]["N"])


def _text(item: Item, name: str) -> str:
    return str(item[name]["S"]) if name in item else ""


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
    if connection.user:
        item["user"] = {"S": connection.user}
    if connection.closing:
        item["closing"] = {"BOOL": True}
    return item


def entry_map(entry: Membership) -> dict[str, Any]:
    return {"shard": _number(entry.shard), "order": _number(entry.order)}


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
        user=_text(item, "user"),
        closing="closing" in item,
        channels={c: read_entry(m["M"]) for c, m in channels.items()},
        left={
            c: Left(int(m["M"]["order"]["N"]), float(m["M"]["at"]["N"])) for c, m in left.items()
        },
    )


def read_entry(entry: Item) -> Membership:
    return Membership(int(entry["shard"]["N"]), int(entry["order"]["N"]))


# -- Subscriptions: chan#<channel>#<shard> / <connection id> --------------------------------------


def shard_partition(channel: str, shard: int) -> str:
    return f"chan#{channel}#{shard}"


def subscription_key(subscription: Subscription) -> Key:
    partition = shard_partition(subscription.channel, subscription.shard)
    return _key(partition, subscription.connection_id)


def subscription_item(subscription: Subscription) -> dict[str, Any]:
    item: dict[str, Any] = {
        **subscription_key(subscription),
        "join": _number(subscription.order),
        "dialect": {"S": subscription.dialect},
        "expires_at": _number(subscription.expires_at),
    }
    if subscription.batch:
        item["batch"] = {"BOOL": True}
    if subscription.user:
        item["user"] = {"S": subscription.user}
    return item


def read_subscriptions(channel: str, shard: int, items: list[Any]) -> Iterator[Subscription]:
    for item in items:
        yield Subscription(
            channel=channel,
            shard=shard,
            connection_id=item["sk"]["S"],
            order=int(item["join"]["N"]),
            dialect=item["dialect"]["S"],
            expires_at=float(item["expires_at"]["N"]),
            batch="batch" in item,
            user=_text(item, "user"),
        )


# -- Facts about the deployment: meta / <name> ----------------------------------------------------


def fact_key(name: str) -> Key:
    return _key("meta", name)


def fact_item(name: str, value: str) -> dict[str, Any]:
    return {**fact_key(name), "value": {"S": value}}


def read_fact(item: Item) -> str:
    return _text(item, "value")
