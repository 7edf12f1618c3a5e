"""Bare WebSockets that speak the action dialect, driven over stdin and stdout: see __init__.py."""

import asyncio
import json
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from tests.e2e.clients.stdio import Command, say, serve


class Sockets:
    """The sockets of this process, by name."""

    def __init__(self) -> None:
        self._sockets: dict[str, ClientConnection] = {}
        self._lives: set[asyncio.Task[None]] = set()

    async def obey(self, command: Command) -> None:
        """Open, close, or send what it is, ``do`` being the action."""
        name, do = command.pop("as"), command.pop("do")
        if do == "connect":
            life = asyncio.create_task(self._live(name, command["url"]))
            self._lives.add(life)
            life.add_done_callback(self._lives.discard)
        elif do == "disconnect":
            await self._sockets[name].close()
        else:
            await self._sockets[name].send(json.dumps({"action": do, **command}))

    async def _live(self, name: str, url: str) -> None:
        async with connect(url, proxy=None, open_timeout=30) as socket:
            self._sockets[name] = socket
            say(name, "connected")
            # A broken connection is told below, by its code 1006.
            with suppress(ConnectionClosedError):
                async for text in socket:
                    frame = json.loads(text)
                    say(name, frame.pop("event"), **frame)
        say(name, "disconnected", code=socket.close_code, reason=socket.close_reason)


if __name__ == "__main__":
    asyncio.run(serve(Sockets().obey))
