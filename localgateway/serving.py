"""The gateway in a thread of its own: what tests and other programs use."""

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from aiohttp import web

from localgateway.authorizers import check_sources
from localgateway.chalice_app import AppOrHandlers, functions_from, pointed_at
from localgateway.chaos import Chaos
from localgateway.logs import http_logger
from localgateway.routes import check_expression
from localgateway.server import Gateway
from localgateway.settings import Settings

_T = TypeVar("_T")
_STOP_SECONDS = 5.0  # how long handlers may go on after the end
_BACKLOG = 4096  # a stampede of clients is a thing to test


class LocalGateway:
    """A running gateway. Every method may be called from any thread but the gateway's own."""

    def __init__(self, gateway: Gateway, loop: asyncio.AbstractEventLoop, origin: str) -> None:
        self._gateway = gateway
        self._loop = loop
        self._pointed = ExitStack()
        self.management_url = f"http{origin}/{gateway.settings.stage}"
        """Where ``@connections`` is: the ``endpoint_url`` of boto3's apigatewaymanagementapi."""
        self.ws_url = f"ws{origin}/{gateway.settings.stage}"
        """Where clients connect."""
        self.port = int(origin.rpartition(":")[2])

    @property
    def chaos(self) -> Chaos:
        """The plan of misbehaviour: change it, or put another in its place."""
        return self._gateway.chaos

    @chaos.setter
    def chaos(self, plan: Chaos) -> None:
        self._gateway.chaos = plan

    def connection_ids(self) -> list[str]:
        """List the connections that live, oldest first."""
        return self._do(lambda: list(self._gateway.sockets))

    def use(self, app_or_handlers: AppOrHandlers) -> None:
        """Run these handlers from the next event on; the sockets stay, as in a deployment."""
        functions = functions_from(app_or_handlers, self._gateway.settings.stage)
        self._pointed.close()
        self._pointed.enter_context(pointed_at(app_or_handlers, self.management_url))
        self._gateway.functions = functions

    def drop(self, connection_id: str, *, notify: bool = False) -> None:
        """Cut a socket as a network does; ``$disconnect`` comes (1006) only with ``notify``.

        Raises:
            KeyError: no such connection lives.
        """
        self._do(lambda: self._gateway.sockets[connection_id].cut(notify=notify))

    def hold(self, connection_id: str) -> None:
        """Behave as if this client read nothing: posts fill its buffer, then get 429."""
        self._do(lambda: self._gateway.sockets[connection_id].hold())

    def release(self, connection_id: str) -> None:
        """Let a held client read again."""
        self._do(lambda: self._gateway.sockets[connection_id].release())

    def skip(self, seconds: float) -> None:
        """Move the gateway's clock forward: idle and old connections are cut now."""
        self._do(lambda: self._gateway.skip(seconds))

    def restart(self) -> None:
        """Cut every socket with 1012 and forget it, without any ``$disconnect``."""
        self._do(self._gateway.restart)

    def quiet(self, timeout: float = 10.0) -> None:
        """Wait until no handler is in flight.

        Raises:
            TimeoutError: one still is after ``timeout`` seconds.
        """
        self._await(asyncio.wait_for(self._gateway.quiet(), timeout))

    def close(self) -> None:
        """Point the app back to where it was."""
        self._pointed.close()

    def _do(self, action: Callable[[], _T]) -> _T:
        async def on_the_loop() -> _T:
            return action()

        return self._await(on_the_loop())

    def _await(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@contextmanager
def serve(
    app_or_handlers: AppOrHandlers,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    chaos: Chaos | None = None,
    **settings: Any,
) -> Iterator[LocalGateway]:
    """Serve a Chalice app, or ``{route: handler}``, until the block ends.

    Port 0 takes a free one. ``settings`` are those of :class:`Settings`. At the end sockets are
    closed with 1001 without ``$disconnect``, handlers get five seconds to finish, and the thread
    is joined.

    Raises:
        OSError: the address cannot be listened on; its message names the port.
        ValueError: a setting is wrong.
    """
    chosen = Settings(**settings)
    check_expression(chosen.route_selection)
    check_sources(chosen.identity_sources)
    functions = functions_from(app_or_handlers, chosen.stage)
    listener = _listen(host, port)
    name = f"[{host}]" if ":" in host else host
    authority = f"{name}:{listener.getsockname()[1]}"
    gateway = Gateway(
        functions,
        replace(chosen, domain_name=chosen.domain_name or authority),
        clock=time.time,  # noqa: TID251 - the one place where the gateway's clock comes from
        entropy=os.urandom,
        chaos=chaos or Chaos(),
    )
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(
        target=lambda: asyncio.run(_run(gateway, listener, tls, started)), name="localgateway"
    )
    thread.start()
    loop, stop = started.result()
    running = LocalGateway(gateway, loop, f"{'s' if tls else ''}://{authority}")
    try:
        running.use(app_or_handlers)
        yield running
    finally:
        running.close()
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _run(
    gateway: Gateway,
    listener: socket.socket,
    tls: ssl.SSLContext | None,
    started: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]",
) -> None:
    server = web.Server(
        gateway.handle,
        access_log=None,
        logger=http_logger(),
        keepalive_timeout=gateway.settings.request_seconds,
    )
    runner = web.ServerRunner(server, shutdown_timeout=_STOP_SECONDS)
    await runner.setup()
    site = web.SockSite(runner, listener, ssl_context=tls, backlog=_BACKLOG)
    await site.start()
    stop = asyncio.Event()
    started.set_result((asyncio.get_running_loop(), stop))
    restarting = asyncio.create_task(_restart_regularly(gateway))
    await stop.wait()
    restarting.cancel()
    # Handlers that still run may post: the port closes after they are done.
    await gateway.stop(_STOP_SECONDS)
    await runner.cleanup()


async def _restart_regularly(gateway: Gateway) -> None:
    """Follow the chaos plan's restarts, which may be changed at any time."""
    since = 0.0
    while True:
        await asyncio.sleep(0.1)
        since += 0.1
        if 0 < gateway.chaos.restart_seconds <= since:
            gateway.restart()
            since = 0.0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as exc:
        raise OSError(
            exc.errno, f"localgateway cannot listen on {host}:{port}: {exc.strerror}"
        ) from exc
