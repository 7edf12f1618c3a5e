"""Connections and subscriptions in DynamoDB."""

from collections.abc import Iterable, Iterator, Sequence

from chalicelib import limits
from chalicelib.model import Connection, Identity, Left, Membership, Position, Subscription
from chalicelib.ports import Flip, Store, Write
from chalicelib.store import keys
from chalicelib.store.table import Table

# Conditions, by what they say in English.
EXISTS = "attribute_exists(pk)"
ABSENT = "attribute_not_exists(pk)"
UNEXPIRED = "expires_at > :now"
OPEN = f"{EXISTS} AND {UNEXPIRED} AND attribute_not_exists(closing)"
UNIDENTIFIED = "attribute_not_exists(dialect)"
NOT_IN_CHANNEL = "attribute_not_exists(channels.#c)"
NOT_LEFT_SINCE = "(attribute_not_exists(#left.#c) OR #left.#c.#order <= :order)"
NOT_ENTERED_SINCE = "(attribute_not_exists(channels.#c) OR channels.#c.#order <= :order)"
HAS_ROOM = "size(channels) < :most"
NO_LATER_JOIN = "(attribute_not_exists(pk) OR #join < :order)"
NOT_A_LATER_JOIN = "#join <= :order"
STILL_JOINING = "#join = :order AND attribute_exists(joining_since)"
MISSED_NOTHING_AFTER = "(attribute_not_exists(missed) OR missed <= :offset)"


class DynamoStore:
    """A ports.Store in a table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    # -- Connections

    def add_connection(self, connection: Connection) -> bool:
        if connection.user:
            self._add_to_user(connection.user, connection.id)
        item = keys.connection_item(connection)
        return self._table.put(item, ConditionExpression=ABSENT).done

    def connection(self, connection_id: str) -> Connection | None:
        return self._alive(self._table.get(keys.connection_key(connection_id)))

    def _alive(self, item: keys.Item | None) -> Connection | None:
        found = keys.read_connection(item) if item else None
        return found if found and found.expires_at > self._table.clock() else None

    def identify(self, connection_id: str, dialect: str, identity: Identity) -> bool:
        if identity.user:
            self._add_to_user(identity.user, connection_id)
        return self._table.update(
            keys.connection_key(connection_id),
            "SET dialect = :dialect, #identity = :identity",
            ConditionExpression=f"{OPEN} AND {UNIDENTIFIED}",
            ExpressionAttributeNames={"#identity": "identity"},
            ExpressionAttributeValues={
                ":dialect": {"S": dialect},
                ":identity": {"M": keys.identity_map(identity)},
                ":now": self._table.now(),
            },
        ).done

    def _add_to_user(self, user: str, connection_id: str) -> None:
        """Before the connection has its user: a crash leaves a row too many, not too few."""
        lifetime = limits.CONNECTION_SECONDS + limits.CONNECTION_GRACE_SECONDS
        expires_at = self._table.clock() + lifetime
        self._table.put(keys.user_item(user, connection_id, expires_at))

    def renew(self, connection_id: str, identity: Identity) -> bool:
        return self._table.update(
            keys.connection_key(connection_id),
            "SET #identity = :identity",
            ConditionExpression=f"{OPEN} AND #identity.#user = :user",
            ExpressionAttributeNames={"#identity": "identity", "#user": "user"},
            ExpressionAttributeValues={
                ":identity": {"M": keys.identity_map(identity)},
                ":user": {"S": identity.user},
                ":now": self._table.now(),
            },
        ).done

    def connections_of(self, user: str) -> list[str]:
        pages = self._unexpired(keys.user_partition(user))
        return [item["sk"]["S"] for items in pages for item in items]

    def enter_channel(self, subscription: Subscription, *, most: int) -> Write:
        entry = Membership(subscription.shard, subscription.order, self._table.clock())
        written = self._table.update(
            keys.connection_key(subscription.connection_id),
            "SET channels.#c = :entry, dialect = if_not_exists(dialect, :dialect) REMOVE #left.#c",
            ConditionExpression=" AND ".join((OPEN, NOT_IN_CHANNEL, NOT_LEFT_SINCE, HAS_ROOM)),
            ExpressionAttributeNames={
                "#c": subscription.channel,
                "#left": "left",
                "#order": "order",
            },
            ExpressionAttributeValues={
                ":entry": {"M": keys.entry_map(entry)},
                ":dialect": {"S": subscription.dialect},
                ":order": {"N": str(subscription.order)},
                ":most": {"N": str(most)},
                ":now": self._table.now(),
            },
        )
        if written.done:
            return Write.DONE
        return Write.of(self._alive(written.item), subscription, most=most)

    def leave_channel(
        self, connection_id: str, channel: str, left: Left, *, forget: Iterable[str] = ()
    ) -> Membership | None:
        forgotten = {f"#f{i}": name for i, name in enumerate(forget) if name != channel}
        removes = ["channels.#c", *(f"#left.{alias}" for alias in forgotten)]
        written = self._table.update(
            keys.connection_key(connection_id),
            f"SET #left.#c = :left REMOVE {', '.join(removes)}",
            ConditionExpression=" AND ".join(
                (EXISTS, UNEXPIRED, NOT_ENTERED_SINCE, NOT_LEFT_SINCE)
            ),
            ExpressionAttributeNames={
                "#c": channel,
                "#left": "left",
                "#order": "order",
                **forgotten,
            },
            ExpressionAttributeValues={
                ":left": {"M": keys.left_map(left)},
                ":order": {"N": str(left.order)},
                ":now": self._table.now(),
            },
            ReturnValues="ALL_OLD",
        )
        return keys.read_connection(written.item).channels.get(channel) if written.done else None

    def mark_closing(self, connection_id: str) -> Connection | None:
        written = self._table.update(
            keys.connection_key(connection_id),
            "SET closing = :true",
            ConditionExpression=EXISTS,
            ExpressionAttributeValues={":true": {"BOOL": True}},
            ReturnValues="ALL_OLD",
        )
        return keys.read_connection(written.item) if written.done else None

    def remove_connection(self, connection_id: str) -> Connection | None:
        key = keys.connection_key(connection_id)
        # Without the condition DynamoDB Local gives the old item to several of those that race.
        removed = self._table.delete(key, ConditionExpression=EXISTS, ReturnValues="ALL_OLD")
        return keys.read_connection(removed.item) if removed.done else None

    BUCKETS = keys.CONNECTION_BUCKETS

    def connections(self, bucket: int, *, after: str = "") -> Iterator[Sequence[Connection]]:
        partition = keys.bucket_partition(bucket)
        for items in self._unexpired(partition, after=after or keys.BEFORE_ALL):
            yield [keys.read_connection(item) for item in items]

    # -- Subscriptions

    def put_subscription(self, subscription: Subscription) -> bool:
        return self._table.put(
            keys.subscription_item(subscription),
            ConditionExpression=NO_LATER_JOIN,
            ExpressionAttributeNames={"#join": "join"},
            ExpressionAttributeValues={":order": {"N": str(subscription.order)}},
        ).done

    def subscription(self, channel: str, shard: int, connection_id: str) -> Subscription | None:
        item = self._table.get(keys.row_key(channel, shard, connection_id))
        row = keys.read_subscription(channel, shard, item) if item else None
        return row if row and row.expires_at > self._table.clock() else None

    def go_live(self, subscription: Subscription, position: Position) -> Flip:
        written = self._table.update(
            keys.subscription_key(subscription),
            "SET deliver_after = :offset, epoch = :epoch REMOVE joining_since, missed",
            ConditionExpression=f"{STILL_JOINING} AND {MISSED_NOTHING_AFTER}",
            ExpressionAttributeNames={"#join": "join"},
            ExpressionAttributeValues={
                ":offset": {"N": str(position.offset)},
                ":epoch": {"S": position.epoch},
                ":order": {"N": str(subscription.order)},
            },
        )
        if written.done:
            return Flip.LIVE
        there = self._read(subscription, written.item)
        behind = there and there.order == subscription.order and there.joining_since
        return Flip.BEHIND if behind else Flip.OVER

    def mark_missed(self, subscription: Subscription, offset: int) -> Subscription | None:
        written = self._table.update(
            keys.subscription_key(subscription),
            "SET missed = :offset",
            ConditionExpression=f"{STILL_JOINING} AND {MISSED_NOTHING_AFTER}",
            ExpressionAttributeNames={"#join": "join"},
            ExpressionAttributeValues={
                ":offset": {"N": str(offset)},
                ":order": {"N": str(subscription.order)},
            },
            ReturnValues="ALL_NEW",
        )
        return self._read(subscription, written.item)

    @staticmethod
    def _read(subscription: Subscription, item: keys.Item) -> Subscription | None:
        if not item:
            return None
        return keys.read_subscription(subscription.channel, subscription.shard, item)

    def remove_subscription(self, subscription: Subscription) -> None:
        self._table.delete(
            keys.subscription_key(subscription),
            ConditionExpression=NOT_A_LATER_JOIN,
            ExpressionAttributeNames={"#join": "join"},
            ExpressionAttributeValues={":order": {"N": str(subscription.order)}},
        )

    def rest(self, subscription: Subscription) -> None:
        self._table.update(
            keys.subscription_key(subscription),
            "SET token_ends_at = :ends, skip_after = :after",
            ConditionExpression=EXISTS,
            ExpressionAttributeValues={
                ":ends": {"N": repr(float(subscription.token_ends_at))},
                ":after": {"N": repr(float(subscription.skip_after))},
            },
        )

    def remove_rows(self, connections: Iterable[Connection]) -> None:
        doomed = [key for connection in connections for key in keys.rows_of(connection)]
        self._table.delete_all(doomed)

    def subscriptions(self, channel: str, shard: int) -> Iterator[Sequence[Subscription]]:
        for items in self._unexpired(keys.shard_partition(channel, shard)):
            yield [keys.read_subscription(channel, shard, item) for item in items]

    def _unexpired(
        self, partition: str, *, after: str = keys.BEFORE_ALL
    ) -> Iterator[list[keys.Item]]:
        yield from self._table.query(
            "pk = :pk AND sk > :after",
            FilterExpression=UNEXPIRED,
            ExpressionAttributeValues={
                ":pk": {"S": partition},
                ":after": {"S": after},
                ":now": self._table.now(),
            },
        )

    # -- Facts about the deployment

    def fact(self, name: str) -> str | None:
        item = self._table.get(keys.fact_key(name))
        return keys.read_fact(item) if item else None

    def note_fact(self, name: str, value: str) -> None:
        self._table.put(keys.fact_item(name, value))


def _conforms(store: DynamoStore) -> Store:
    return store
