"""The calls on the table, through boto3's low-level client, which is loaded at first use."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from chalicelib.errors import StoreError
from chalicelib.store import keys

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Items that one BatchWriteItem may hold.
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
BATCH_ITEMS = 25
# Times that the leftovers of a batch are tried again, with a pause that doubles from 50 ms.
BATCH_TRIES = 8


@dataclass(frozen=True, slots=True)
class Written:
    """What a conditional write came to.

    ``item``: what ``ReturnValues`` asked for if it is done, else the item that it was refused for;
    empty if there is none.
    """

    done: bool
    item: keys.Item


class Table:
    """A table of infra/resources.json.

    Args:
        name: The table's name.
        clock: Seconds since the epoch, for what has expired.
        sleep: How to wait before the leftovers of a batch are tried again.
        page: Items a Query page, for tests; 0: as many as fit in DynamoDB's 1 MB.
        connect: Makes the client, at first use.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        page: int = 0,
        connect: "Callable[[], DynamoDBClient] | None" = None,
    ) -> None:
        self.name = name
        self.clock = clock
        self._sleep = sleep
        self._page = page
        self._lock = Lock()
        self._connect = connect or _connect
        self._made: DynamoDBClient | None = None

    @property
    def _client(self) -> "DynamoDBClient":
        with self._lock:
            if self._made is None:
                self._made = self._connect()
            return self._made

    def now(self) -> dict[str, str]:
        """The time as an attribute value."""
        return {"N": repr(self.clock())}

    def get(self, key: keys.Key) -> keys.Item | None:
        found = self._client.get_item(TableName=self.name, Key=key, ConsistentRead=True)
        return found.get("Item")

    def put(self, item: dict[str, Any], **arguments: Any) -> Written:
        return self._write("put_item", Item=item, **arguments)

    def update(self, key: keys.Key, expression: str, **arguments: Any) -> Written:
        return self._write("update_item", Key=key, UpdateExpression=expression, **arguments)

    def delete(self, key: keys.Key, **arguments: Any) -> Written:
        return self._write("delete_item", Key=key, **arguments)

    def _write(self, operation: str, **arguments: Any) -> Written:
        client = self._client
        if "ConditionExpression" in arguments:
            arguments["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        try:
            answer = getattr(client, operation)(TableName=self.name, **arguments)
        except client.exceptions.ConditionalCheckFailedException as error:
            return Written(done=False, item=cast(keys.Item, error.response.get("Item", {})))
        return Written(done=True, item=answer.get("Attributes", {}))

    def query(self, condition: str, *, most: int = 0, **arguments: Any) -> Iterator[list[Any]]:
        """The items that meet a key condition, a page at a time, until ``most`` were read."""
        start: dict[str, Any] = {}
        left = most
        while True:
            limit = min(filter(None, (self._page, left)), default=0)
            if limit:
                start["Limit"] = limit
            page = self._client.query(
                TableName=self.name,
                ConsistentRead=True,
                KeyConditionExpression=condition,
                **arguments,
                **start,
            )
            if page["Items"]:
                yield page["Items"]
            if most:
                left -= len(page["Items"])
            if "LastEvaluatedKey" not in page or (most and left <= 0):
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def delete_all(self, doomed: list[keys.Key]) -> None:
        """Delete items, whatever they hold. Raises: StoreError if some stay."""
        deletes: list[Any] = [{"DeleteRequest": {"Key": key}} for key in doomed]
        for start in range(0, len(deletes), BATCH_ITEMS):
            self._batch(deletes[start : start + BATCH_ITEMS])

    def _batch(self, writes: list[Any]) -> None:
        for attempt in range(BATCH_TRIES):
            answer = self._client.batch_write_item(RequestItems={self.name: writes})
            writes = answer["UnprocessedItems"].get(self.name, [])
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
            read_timeout=10,
        ),
    )
    return client
