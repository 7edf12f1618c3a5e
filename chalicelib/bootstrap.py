"""The composition root: the only module that knows which store and transport there are.

Everything is built at the first call, not at import: `chalice package` imports the app where
there are neither settings nor credentials. This is also where clock and pool come from.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from os import urandom
from random import random
from threading import Lock, local
from typing import TypeVar

from chalicelib import logs, rpc
from chalicelib.connections import Connections
from chalicelib.dispatch.inline import InlineDispatcher
from chalicelib.dispatch.sqs import DeadLetters, SqsDispatcher
from chalicelib.endpoint import Endpoint
from chalicelib.fanout import Fanout
from chalicelib.hub import Hub
from chalicelib.notifier import Notifier
from chalicelib.ports import Dispatcher, Parallel, Store, Streams, Transport
from chalicelib.presence import Presence
from chalicelib.settings import Settings, environ
from chalicelib.streams import Log
from chalicelib.subscriptions import Subscriptions
from chalicelib.sweep import Sweep
from chalicelib.tokens import Verifier

_A = TypeVar("_A")
_R = TypeVar("_R")

# Calls of one invocation that run at the same time; DynamoDB's client holds as many connections.
THREADS = 32


@dataclass(frozen=True, slots=True)
class App:
    """One of everything, wired."""

    settings: Settings
    store: Store
    endpoint: Endpoint
    notifier: Notifier
    hub: Hub
    subscriptions: Subscriptions
    fanout: Fanout
    sweep: Sweep
    parallel: Parallel
    dead_letters: DeadLetters | None = None


def build(  # noqa: PLR0913 everything that the world hands in
    settings: Settings,
    *,
    store: Store,
    streams: Streams,
    transport: Callable[[Endpoint], Transport],
    parallel: Parallel,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    new_id: Callable[[], str],
) -> App:
    """Wire the core to a store and a transport; tests hand in those in memory."""
    endpoint = Endpoint(settings.websocket_endpoint, settings.region, store, clock)
    sender = transport(endpoint)
    log = Log(streams, clock=clock, sleep=sleep, new_id=new_id)
    connections = Connections(store, sender, parallel)
    fanout = Fanout(
        store=store,
        streams=streams,
        log=log,
        transport=sender,
        connections=connections,
        channels=settings.channels,
        parallel=parallel,
        clock=clock,
        new_id=new_id,
    )
    presence = Presence(store, fanout, settings.channels)
    connections.tell_when_left(presence.left)
    subscriptions = Subscriptions(
        store=store,
        log=log,
        connections=connections,
        presence=presence,
        channels=settings.channels,
        max_channels=settings.max_channels,
        clock=clock,
        sleep=sleep,
    )
    app_side = Notifier(
        store=store,
        streams=streams,
        log=log,
        channels=settings.channels,
        fanout=fanout,
        dispatcher=_dispatcher(settings, fanout, parallel, new_id),
        subscriptions=subscriptions,
        connections=connections,
        presence=presence,
        max_data_bytes=settings.max_data_bytes,
        clock=clock,
        sleep=sleep,
    )
    client_side = Hub(
        store=store,
        connections=connections,
        subscriptions=subscriptions,
        notifier=app_side,
        channels=settings.channels,
        methods=rpc.registry,
        verifier=Verifier(settings.tokens, clock=clock),
        clock=clock,
        sleep=sleep,
        allow_anonymous=settings.allow_anonymous,
        ping=settings.ping,
        parallel=parallel,
    )
    sweep = Sweep(
        store=store,
        transport=sender,
        connections=connections,
        fanout=fanout,
        channels=settings.channels,
        ping=settings.ping,
        clock=clock,
    )
    dead = settings.ingest_dead_letters_url
    return App(
        *(settings, store, endpoint, app_side, client_side, subscriptions, fanout, sweep, parallel),
        dead_letters=DeadLetters(dead) if dead else None,
    )


def _dispatcher(
    settings: Settings, fanout: Fanout, parallel: Parallel, new_id: Callable[[], str]
) -> Dispatcher:
    if settings.fanout_queue_url:
        return SqsDispatcher(settings.fanout_queue_url, new_id=new_id)
    return InlineDispatcher(fanout, parallel)


class _Deployed:
    """The one App of this process, built from the environment by whoever needs it first."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._app: App | None = None

    def __call__(self) -> App:
        with self._lock:
            if self._app is None:
                self._app = _from_environment()
            return self._app


def _from_environment() -> App:
    from chalicelib.store.dynamo import DynamoStore
    from chalicelib.store.streams import DynamoStreams
    from chalicelib.store.table import Table
    from chalicelib.transport.management import ManagementTransport, World
    from chalicelib.transport.sigv4 import credentials_from

    clock, sleep = time.time, time.sleep  # noqa: TID251 the one place that reads the clock
    found = Settings.from_environment()
    if found.function:
        logs.to_cloudwatch(found.table, found.log_level.upper())
    world = World(now=clock, monotonic=time.monotonic, random=random)
    credentials = credentials_from(environ)
    table = Table(found.table, clock=clock, sleep=sleep)
    return build(
        found,
        store=DynamoStore(table),
        streams=DynamoStreams(table),
        transport=lambda endpoint: ManagementTransport(
            endpoint.url, credentials, found.region, world=world
        ),
        parallel=Pool(THREADS),
        clock=clock,
        sleep=sleep,
        new_id=lambda: urandom(8).hex(),
    )


class Pool:
    """ports.Parallel with threads; a call from one of its own threads runs right there.

    Otherwise nested calls would wait for threads that all wait for them.
    """

    def __init__(self, threads: int) -> None:
        self._inside = local()
        self._threads = ThreadPoolExecutor(threads, initializer=self._mark)

    def _mark(self) -> None:
        self._inside.marked = True

    def __call__(self, function: Callable[[_A], _R], items: Sequence[_A], /) -> list[_R]:
        if len(items) < 2 or hasattr(self._inside, "marked"):
            return [function(item) for item in items]
        futures = [self._threads.submit(function, item) for item in items]
        wait(futures)
        return [future.result() for future in futures]


deployed = _Deployed()


def settings() -> Settings:
    return deployed().settings


def endpoint() -> Endpoint:
    return deployed().endpoint


def notifier() -> Notifier:
    return deployed().notifier


def hub() -> Hub:
    return deployed().hub


def fanout() -> Fanout:
    return deployed().fanout


def sweep() -> Sweep:
    return deployed().sweep


def parallel() -> Parallel:
    return deployed().parallel


def check() -> None:
    """Raise what keeps this deployment from working: ConfigError, or the table's own error."""
    deployed().store.fact("endpoint")
