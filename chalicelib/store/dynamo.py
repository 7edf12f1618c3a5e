"""The store in DynamoDB: one table, no index, boto3's low-level client, loaded at first use."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from chalicelib.errors import StoreError
from chalicelib.model import Connection, Left, Membership, Subscription
from chalicelib.ports import Store, Write
from chalicelib.store import keys

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Items that one BatchWriteItem may hold.
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
BATCH_ITEMS = 25
# Times that the leftovers of a batch are tried again, with a pause that doubles from 50 ms.
BATCH_TRIES = 8

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


class DynamoStore:
    """A ports.Store in a table of infra/resources.json.

    Args:
        table: The table's name.
        clock: Seconds since the epoch, for what has expired.
        sleep: How to wait before the leftovers of a batch are tried again.
        page: Items a Query page, for tests; 0: as many as fit in DynamoDB's 1 MB.
        connect: Makes the client, at first use.
    """

    def __init__(
        self,
        table: str,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        page: int = 0,
        connect: "Callable[[], DynamoDBClient] | None" = None,
    ) -> None:
        self._table = table
        self._clock = clock
        self._sleep = sleep
        self._paging: dict[str, Any] = {"Limit": page} if page else {}
        self._lock = Lock()
        self._connect = connect or _connect
        self._made: DynamoDBClient | None = None

    @property
    def _client(self) -> "DynamoDBClient":
        with self._lock:
            if self._made is None:
                self._made = self._connect()
            return self._made

    # -- Connections

    def add_connection(self, connection: Connection) -> bool:
        refusal = self._write(
            "put_item", Item=keys.connection_item(connection), ConditionExpression=ABSENT
        )
        return refusal is None

    def connection(self, connection_id: str) -> Connection | None:
        item = self._get(keys.connection_key(connection_id))
        found = keys.read_connection(item) if item else None
        return found if found and found.expires_at > self._clock() else None

    def identify(self, connection_id: str, *, dialect: str, user: str) -> bool:
        sets = {"dialect": dialect, **({"#user": user} if user else {})}
        refusal = self._write(
            "update_item",
            Key=keys.connection_key(connection_id),
            UpdateExpression="SET " + ", ".join(f"{name} = :{name.strip('#')}" for name in sets),
            ConditionExpression=f"{OPEN} AND {UNIDENTIFIED}",
            **({"ExpressionAttributeNames": {"#user": "user"}} if user else {}),
            ExpressionAttributeValues={
                ":now": self._now(),
                **{f":{name.strip('#')}": {"S": value} for name, value in sets.items()},
            },
        )
        return refusal is None

    def enter_channel(self, subscription: Subscription, *, most: int) -> Write:
        entry = Membership(subscription.shard, subscription.order)
        refusal = self._write(
            "update_item",
            Key=keys.connection_key(subscription.connection_id),
            UpdateExpression=(
                "SET channels.#c = :entry, dialect = if_not_exists(dialect, :dialect)"
                " REMOVE #left.#c"
            ),
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
                ":now": self._now(),
            },
        )
        if refusal is None:
            return Write.DONE
        found = keys.read_connection(refusal) if refusal else None
        if found and found.expires_at <= self._clock():
            found = None
        return Write.of(found, subscription, most=most)

    def leave_channel(
        self, connection_id: str, channel: str, left: Left, *, forget: Iterable[str] = ()
    ) -> Membership | None:
        forgotten = {f"#f{i}": name for i, name in enumerate(forget) if name != channel}
        removes = ["channels.#c", *(f"#left.{alias}" for alias in forgotten)]
        old: dict[str, Any] = {}
        refusal = self._write(
            "update_item",
            returned=old,
            Key=keys.connection_key(connection_id),
            UpdateExpression=f"SET #left.#c = :left REMOVE {', '.join(removes)}",
            ConditionExpression=f"{EXISTS} AND {UNEXPIRED} AND {NOT_ENTERED_SINCE}"
            f" AND {NOT_LEFT_SINCE}",
            ExpressionAttributeNames={
                "#c": channel,
                "#left": "left",
                "#order": "order",
                **forgotten,
            },
            ExpressionAttributeValues={
                ":left": {"M": keys.left_map(left)},
                ":order": {"N": str(left.order)},
                ":now": self._now(),
            },
            ReturnValues="ALL_OLD",
        )
        if refusal is not None:
            return None
        return keys.read_connection(old).channels.get(channel)

    def mark_closing(self, connection_id: str) -> Connection | None:
        now: dict[str, Any] = {}
        refusal = self._write(
            "update_item",
            returned=now,
            Key=keys.connection_key(connection_id),
            UpdateExpression="SET closing = :true",
            ConditionExpression=EXISTS,
            ExpressionAttributeValues={":true": {"BOOL": True}},
            ReturnValues="ALL_NEW",
        )
        return None if refusal is not None else keys.read_connection(now)

    def remove_connection(self, connection_id: str) -> Connection | None:
        deleted = self._client.delete_item(
            TableName=self._table, Key=keys.connection_key(connection_id), ReturnValues="ALL_OLD"
        )
        item = deleted.get("Attributes")
        return keys.read_connection(item) if item else None

    def connections(self) -> Iterator[Sequence[Connection]]:
        for bucket in range(keys.CONNECTION_BUCKETS):
            for items in self._query(keys.bucket_partition(bucket)):
                yield [keys.read_connection(item) for item in items]

    # -- Subscriptions

    def put_subscription(self, subscription: Subscription) -> bool:
        refusal = self._write(
            "put_item",
            Item=keys.subscription_item(subscription),
            ConditionExpression=NO_LATER_JOIN,
            ExpressionAttributeNames={"#join": "join"},
            ExpressionAttributeValues={":order": {"N": str(subscription.order)}},
        )
        return refusal is None

    def remove_subscription(self, subscription: Subscription) -> None:
        self._write(
            "delete_item",
            Key=keys.subscription_key(subscription),
            ConditionExpression=NOT_A_LATER_JOIN,
            ExpressionAttributeNames={"#join": "join"},
            ExpressionAttributeValues={":order": {"N": str(subscription.order)}},
        )

    def remove_subscriptions(self, subscriptions: Iterable[Subscription]) -> None:
        rows = {(row.channel, row.shard, row.connection_id): row for row in subscriptions}
        deletes = [{"DeleteRequest": {"Key": keys.subscription_key(row)}} for row in rows.values()]
        for start in range(0, len(deletes), BATCH_ITEMS):
            self._batch(deletes[start : start + BATCH_ITEMS])

    def subscriptions(self, channel: str, shard: int) -> Iterator[Sequence[Subscription]]:
        for items in self._query(keys.shard_partition(channel, shard)):
            yield list(keys.read_subscriptions(channel, shard, items))

    # -- Facts about the deployment

    def fact(self, name: str) -> str | None:
        item = self._get(keys.fact_key(name))
        return keys.read_fact(item) if item else None

    def note_fact(self, name: str, value: str) -> None:
        self._client.put_item(TableName=self._table, Item=keys.fact_item(name, value))

    # -- The calls themselves

    def _now(self) -> dict[str, str]:
        return {"N": str(self._clock())}

    def _get(self, key: keys.Key) -> keys.Item | None:
        return self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True).get(
            "Item"
        )

    def _write(
        self, operation: str, *, returned: dict[str, Any] | None = None, **arguments: Any
    ) -> keys.Item | None:
        """Make one conditional write; None, or the item that it was refused for (maybe empty).

        ``returned`` receives the attributes that ``ReturnValues`` asks for.
        """
        client = self._client
        try:
            answer = getattr(client, operation)(
                TableName=self._table,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **arguments,
            )
        except client.exceptions.ConditionalCheckFailedException as error:
            return cast(keys.Item, error.response.get("Item", {}))
        if returned is not None:
            returned.update(answer.get("Attributes", {}))
        return None

    def _query(self, partition: str) -> Iterator[list[Any]]:
        """The unexpired items of a partition, a page at a time."""
        start: dict[str, Any] = {}
        while True:
            page = self._client.query(
                TableName=self._table,
                ConsistentRead=True,
                KeyConditionExpression="pk = :pk",
                FilterExpression=UNEXPIRED,
                ExpressionAttributeValues={":pk": {"S": partition}, ":now": self._now()},
                **self._paging,
                **start,
            )
            if page["Items"]:
                yield page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _batch(self, writes: list[Any]) -> None:
        for attempt in range(BATCH_TRIES):
            answer = self._client.batch_write_item(RequestItems={self._table: writes})
            writes = answer["UnprocessedItems"].get(self._table, [])
            if not writes:
                return
            self._sleep(0.05 * 2**attempt)
        raise StoreError(f"{len(writes)} deletes unprocessed after {BATCH_TRIES} tries")


def _connect() -> "DynamoDBClient":
    import boto3  # noqa: TID251 the store is one of boto3's places, at first use
    from botocore.config import Config  # noqa: TID251 it comes with boto3

    client: DynamoDBClient = boto3.client(
        "dynamodb",
        config=Config(
            max_pool_connections=64,
            retries={"mode": "standard", "total_max_attempts": 5},
            connect_timeout=2,
            read_timeout=5,
        ),
    )
    return client


def _conforms(store: DynamoStore) -> Store:
    return store
