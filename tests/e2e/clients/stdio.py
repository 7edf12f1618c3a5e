"""What the drivers in Python share: commands come from stdin, events go to stdout."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

Command = dict[str, Any]

LINE_BYTES = 1024 * 1024


def say(client: str, event: str, /, **fields: object) -> None:
    """Write an event."""
    sys.stdout.write(json.dumps({"as": client, "event": event, **fields}) + "\n")
    sys.stdout.flush()


async def serve(obey: Callable[[Command], Awaitable[None]]) -> None:
    """Obey one command after another until stdin ends."""
    reader = asyncio.StreamReader(limit=LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        await obey(json.loads(line))
