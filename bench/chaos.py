"""Clients of the official SDKs, while everything around them fails; nobody may miss anything.

The app runs in this process, on bin/dev's stack, with parts that die at random calls
(bench/faults.py) behind a gateway that loses $disconnects, answers 429 and 5xx, cuts sockets and is
down for a while. Each SDK runs in a process of its own. In the end every client must have had
every publication of its channels, in order once repetitions are dropped; it may miss only what it
was told about (``recovered: false``), which happens in the channel whose history is short.

Exits with 1 if anybody lost anything, or anything is left in the table that should not be.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import partial
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import msgspec

from bench.audit import Audit, audit, total
from bench.faults import (
    Fates,
    MortalStore,
    MortalStreams,
    MortalTransport,
    Shares,
    hush_killed_threads,
    quietly,
)
from chalicelib import bootstrap, limits
from chalicelib.settings import Settings
from chalicelib.store.dynamo import DynamoStore
from chalicelib.store.streams import DynamoStreams
from chalicelib.store.table import Table
from chalicelib.transport.management import ManagementTransport, World
from chalicelib.transport.sigv4 import credentials_from
from devstack import resources
from devstack.stack import Options, Stack
from devstack.stack import running as devstack_running
from localgateway import LocalGateway
from localgateway.chaos import Chaos
from tests.e2e.clients import Client, Driver
from tests.e2e.clients.programs import SDKS

ROOT = Path(__file__).parent.parent

SHORT = "short:e"  # where history is trimmed
CHANNELS = ("kept:a", "kept:b", "wide:c", "wide:d", SHORT)
SHORT_HISTORY = 20
# So far behind the top a client may be and must recover; the top may be ahead of what it is told,
# by what is being written.
KEEPS = {
    channel: (SHORT_HISTORY if channel == SHORT else limits.RECOVERY_PUBLICATIONS)
    - limits.FRESH_LOOK
    for channel in CHANNELS
}
_OPEN = {
    "force_recovery": True,
    "history_ttl": "1h",
    "allow_subscribe_for_client": True,
    "allow_subscribe_for_anonymous": True,
}
NAMESPACES = {
    "namespaces": [
        {"name": "kept", "history_size": 100_000, **_OPEN},
        {"name": "wide", "history_size": 100_000, "shards": 3, **_OPEN},
        {"name": "short", "history_size": SHORT_HISTORY, **_OPEN},
    ]
}

PUBLISHERS = 2  # a channel
OUTAGES = 2
CUTS = 0.02  # sockets that are cut by the network, a publication
RINGS_AGAIN = 0.05  # doorbells that are answered a second time
MARKER_SECONDS = 5.0  # between two markers
END_SECONDS = 120.0  # in which everybody must have one


def main(arguments: Sequence[str]) -> int:
    parsed = _parser().parse_args(arguments)
    plan = Plan(
        clients=max(10, round(parsed.clients * parsed.scale)),
        publications=max(50 * len(CHANNELS), round(parsed.publications * parsed.scale)),
        seed=parsed.seed,
    )
    report = run(plan, aws=parsed.aws, dynamodb=parsed.dynamodb)
    sys.stdout.write(_table(report))
    sys.stdout.write(json.dumps({**_circumstances(arguments), **asdict(report)}) + "\n")
    return 0 if report.is_good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bin/bench chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--publications", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="of clients and publications")
    parser.add_argument("--aws", metavar="URL", default="", help="an AWS that runs elsewhere")
    parser.add_argument("--dynamodb", metavar="URL", default="", help="its DynamoDB, if apart")
    return parser


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done."""

    clients: int
    publications: int
    seed: int


@dataclass(slots=True)
class Report:
    """What came of it. All counts from ``lost`` on must be 0.

    Attributes:
        published: Publications that were answered.
        unanswered: Calls of /publish that failed; what they published, if they did, is delivered.
        delivered: Publications that clients heard, repetitions included.
        connects: Connections that clients made.
        deaths: What was killed, and how often.
        endings: Why clients and subscriptions ended, and how often.
        lost: Publications that a client never heard and was not told about.
        trimmed: Times that a client was told ``recovered: false``, since so much was missing.
        unrecovered: The same, when everything was there to be recovered.
        vanished: Publications that were answered and are not in the stream.
        given_up: Clients, and subscriptions, that ended.
        stale: Rows of connections that do not live; connections that the gateway does not know.
        missing: Subscriptions of live clients that have no row.
    """

    published: int = 0
    unanswered: int = 0
    delivered: int = 0
    duplicates: int = 0
    recoveries: int = 0
    connects: int = 0
    trimmed: int = 0
    deaths: dict[str, int] = field(default_factory=dict)
    endings: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    publications_a_second: float = 0.0
    lost: int = 0
    disorder: int = 0
    corrupt: int = 0
    unrecovered: int = 0
    vanished: int = 0
    given_up: int = 0
    stale: int = 0
    missing: int = 0

    @property
    def is_good(self) -> bool:
        names = list(asdict(self))
        return not any(getattr(self, name) for name in names[names.index("lost") :])


# -- The run


def run(plan: Plan, *, aws: str, dynamodb: str) -> Report:
    hush_killed_threads()
    fates = Fates(plan.seed, Shares())
    fates.spared.set()
    with ExitStack() as context:
        stack = context.enter_context(_running(aws, dynamodb))
        app, streams = _mortal_app(fates)
        bootstrap.deployed._app = app  # in place of the one that would be built now
        outage = _sabotage(stack)
        names = sorted(SDKS)
        drivers = [context.enter_context(Driver(SDKS[name]())) for name in names]
        members = _members(plan, drivers, stack.ws)

        fates.spared.clear()
        stack.gateway.chaos = Chaos(
            seed=plan.seed,
            lose_disconnects=0.2,
            throttled=0.05,
            failed=0.01,
            unavailable=0.01,
            cut=0.001,
        )
        began = monotonic()
        publishing = _Publishing(plan, stack, app, fates)
        publishing.start()
        _make_trouble(plan, publishing, stack.gateway, outage)
        publishing.join()
        seconds = monotonic() - began

        fates.spared.set()
        stack.gateway.chaos = Chaos()
        markers = _until_marked(stack, app, members)
        stack.gateway.quiet(timeout=60)
        truth = {channel: _stream(streams, channel) for channel in CHANNELS}
        report = _report(members, truth, markers)
        report.published = len(publishing.answered)
        report.unanswered = publishing.unanswered
        report.vanished = sum(
            truth[channel].get(offset) != data for channel, offset, data in publishing.answered
        )
        report.deaths = dict(fates.deaths)
        report.seconds = round(seconds, 1)
        report.publications_a_second = round(report.published / seconds, 1)
        _look_for_leftovers(report, stack, app, members)
    return report


@contextmanager
def _running(aws: str, dynamodb: str) -> Iterator[Stack]:
    """bin/dev's stack on free ports, with AWS in a process of its own."""
    environ = os.environ  # noqa: TID251 this process plays the deployer
    environ["CHANNELS"] = json.dumps(NAMESPACES)
    with ExitStack() as context:
        aws = aws or context.enter_context(_aws())
        if dynamodb:
            environ["AWS_ENDPOINT_URL_DYNAMODB"] = dynamodb
        options = Options(http_port=0, ws_port=0, aws_port=0, aws=aws)
        stack = context.enter_context(devstack_running(options))
        if dynamodb:
            import boto3  # noqa: TID251 the table is not where the rest of AWS is

            client = boto3.client("dynamodb", endpoint_url=dynamodb)
            resources.create_table(client, environ["TABLE"])
        yield stack


@contextmanager
def _aws() -> Iterator[str]:
    command = [sys.executable, "-m", "devstack", "--aws-only", "--aws-port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        if not words or words[0] != "ready":
            raise RuntimeError("the embedded AWS did not start")
        try:
            yield words[-1]
        finally:
            process.send_signal(signal.SIGTERM)


def _mortal_app(fates: Fates) -> tuple[bootstrap.App, DynamoStreams]:
    """The app as deployed, but for parts that die; and streams that do not."""
    settings = Settings.from_environment()
    clock, sleep = time.time, time.sleep  # noqa: TID251 as bootstrap does
    dice = Random()
    world = World(now=clock, monotonic=monotonic, random=dice.random)
    credentials = credentials_from(os.environ)  # noqa: TID251 they are in the stage
    table = Table(settings.table, clock=clock, sleep=sleep)
    streams = DynamoStreams(table)
    ids = count(1)
    app = bootstrap.build(
        settings,
        store=MortalStore(DynamoStore(table), fates),
        streams=MortalStreams(streams, fates),
        transport=lambda endpoint: MortalTransport(
            ManagementTransport(endpoint.url, credentials, settings.region, world=world), fates
        ),
        parallel=bootstrap.Pool(bootstrap.THREADS),
        clock=clock,
        sleep=sleep,
        new_id=lambda: f"{next(ids):x}-{os.urandom(4).hex()}",
    )
    return app, streams


def _sabotage(stack: Stack) -> threading.Event:
    """Let handlers be killed, and refuse connections as long as the event is set."""
    outage = threading.Event()
    chalice: Any = stack.app
    routes = {
        route: quietly(chalice.handler_map[config.name])
        for route, config in chalice.websocket_handlers.items()
    }
    connect = routes["$connect"]

    def connect_or_not(event: Any, context: Any) -> Any:
        return {"statusCode": 503} if outage.is_set() else connect(event, context)

    stack.gateway.use({**routes, "$connect": connect_or_not})
    return outage


@dataclass(frozen=True, slots=True)
class Member:
    """A client and the channels that it is in."""

    client: Client
    channels: tuple[str, ...]


def _members(plan: Plan, drivers: Sequence[Driver], url: str) -> list[Member]:
    """Connect all clients, each to one or two channels."""
    dice = Random(f"{plan.seed} members")
    members = [
        Member(
            drivers[number % len(drivers)].client(),
            # The first ones cover every channel, however few there are.
            tuple({CHANNELS[number % len(CHANNELS)], *dice.sample(CHANNELS, dice.randint(0, 1))}),
        )
        for number in range(plan.clients)
    ]
    for member in members:
        member.client.command("connect", url=url)
    for member in members:
        member.client.wait_for(lambda each: each["event"] == "connected")
        for channel in member.channels:
            member.client.command("subscribe", channel=channel)
    for member in members:
        for channel in member.channels:
            member.client.wait_for(partial(_is_subscribed, channel))
    return members


def _is_subscribed(channel: str, event: Mapping[str, Any]) -> bool:
    return bool(event["event"] == "subscribed" and event["channel"] == channel)


def api_key() -> str:
    return os.environ["API_KEYS"].split(",")[0]  # noqa: TID251 it is in the stage


class _Publishing:
    """Publishes to every channel from several threads, each again until it is answered."""

    def __init__(self, plan: Plan, stack: Stack, app: bootstrap.App, fates: Fates) -> None:
        self.answered: list[tuple[str, int, object]] = []
        self.unanswered = 0
        self._netloc = urlsplit(stack.http).netloc
        self._key = api_key()
        self._app = app
        self._fates = fates
        self._seed = plan.seed
        self._changed = threading.Condition()
        each = plan.publications // (len(CHANNELS) * PUBLISHERS)
        self._threads = [
            threading.Thread(target=self._publish_all, args=(channel, number, each))
            for channel in CHANNELS
            for number in range(PUBLISHERS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of what has been answered, or all is."""
        with self._changed:
            self._changed.wait_for(lambda: holds() or not self._goes_on())

    def count(self, channel: str = "") -> int:
        return sum(each[0] == channel for each in self.answered) if channel else len(self.answered)

    def _goes_on(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _publish_all(self, channel: str, number: int, times: int) -> None:
        dice = Random(f"{self._seed} publisher {channel} {number}")
        caller = _Caller(self._netloc, self._key)
        for place in range(times):
            data = {"publisher": number, "n": place}
            while (offset := caller.publish(channel, data)) == 0:
                with self._changed:
                    self.unanswered += 1
            with self._changed:
                self.answered.append((channel, offset, data))
                self._changed.notify_all()
            if dice.random() < RINGS_AGAIN:
                self._ring_again(channel)
        caller.close()
        with self._changed:
            self._changed.notify_all()

    def _ring_again(self, channel: str) -> None:
        """As a queue does that delivers at least once."""
        for shard in range(self._app.settings.channels.options(channel).all_shards):
            quiet = quietly(lambda shard, _context: self._app.fanout.drain(channel, shard))
            try:
                quiet(shard, None)
            except Exception:  # noqa: BLE001, S110 it died on purpose
                pass


class _Caller:
    """Calls /publish over one connection, and a new one if that breaks."""

    def __init__(self, netloc: str, key: str) -> None:
        self._connection = HTTPConnection(netloc, timeout=60)
        self._headers = {"X-API-Key": key, "Content-Type": "application/json"}

    def publish(self, channel: str, data: object) -> int:
        """The offset; 0 if there was no answer, or an error."""
        body = json.dumps({"channel": channel, "data": data})
        try:
            self._connection.request("POST", "/publish", body, self._headers)
            answer = self._connection.getresponse().read()
            result = json.loads(answer).get("result", {})
        except (HTTPException, OSError, ValueError):
            self._connection.close()
            return 0
        return int(result.get("offset", 0))

    def close(self) -> None:
        self._connection.close()


def _make_trouble(
    plan: Plan, publishing: _Publishing, gateway: LocalGateway, outage: threading.Event
) -> None:
    """Cut sockets all the time, and all of them, for a while, a few times."""
    dice = Random(f"{plan.seed} trouble")
    every = round(1 / CUTS)
    outages = [plan.publications * (n + 1) // (OUTAGES + 1) for n in range(OUTAGES)]
    for step in range(every, plan.publications, every):
        publishing.wait_until(partial(lambda least: publishing.count() >= least, step))
        alive = gateway.connection_ids()
        if alive:
            try:
                gateway.drop(dice.choice(alive), notify=dice.random() < 0.5)
            except KeyError:
                continue  # it went by itself
        if outages and step >= outages[0]:
            outages.pop(0)
            _break_down(publishing, gateway, outage)


def _break_down(publishing: _Publishing, gateway: LocalGateway, outage: threading.Event) -> None:
    """Be down until the short history has forgotten what there was before."""
    outage.set()
    gateway.restart()
    enough = publishing.count(SHORT) + SHORT_HISTORY + 2
    publishing.wait_until(lambda: publishing.count(SHORT) >= enough)
    outage.clear()


# -- The end


def _until_marked(stack: Stack, app: bootstrap.App, members: Sequence[Member]) -> dict[str, int]:
    """Publish markers until everybody had one; the offset of each channel's first.

    A ring that was lost with a process is made good by the next one, and a join that died by
    whoever meets it half a minute later: so one marker need not do.
    """
    caller = _Caller(urlsplit(stack.http).netloc, api_key())
    first: dict[str, int] = {}
    give_up_at = monotonic() + END_SECONDS
    waiting = [(member, channel) for member in members for channel in member.channels]
    while waiting and monotonic() < give_up_at:
        for channel in CHANNELS:
            offset = caller.publish(channel, "marker")
            first.setdefault(channel, offset)
        wait_until = monotonic() + MARKER_SECONDS
        for member, channel in waiting:
            try:
                member.client.wait_until(
                    partial(_is_marked, member.client, channel, first[channel]),
                    max(0.0, wait_until - monotonic()),
                )
            except TimeoutError:
                continue
        waiting = [
            (member, channel)
            for member, channel in waiting
            if not _is_marked(member.client, channel, first[channel])
        ]
    caller.close()
    return first


def _is_marked(client: Client, channel: str, offset: int) -> bool:
    """Whether a client is as far as the first marker."""
    for event in reversed(client.events):
        if event.get("channel") == channel:
            if event["event"] == "publication":
                return bool(event["offset"] >= offset)
            if event["event"] == "subscribed" and not event["recovered"]:
                return bool(event.get("offset", 0) >= offset)
    return False


def _stream(streams: DynamoStreams, channel: str) -> dict[int, object]:
    """All that was published, by offset, without tombstones."""
    found: dict[int, object] = {}
    after = 0
    while slots := streams.oldest(channel, after=after, limit=500).slots:
        after = slots[-1].offset
        for slot in slots:
            if slot.publication:
                found[slot.offset] = msgspec.json.decode(bytes(slot.publication.data))
    return found


def _report(
    members: Sequence[Member], truth: Mapping[str, Mapping[int, object]], markers: Mapping[str, int]
) -> Report:
    report = Report()
    by_channel: dict[str, list[Audit]] = {channel: [] for channel in CHANNELS}
    for member in members:
        for channel in member.channels:
            events = [each for each in member.client.events if each.get("channel") == channel]
            judged = audit(events, truth[channel], upto=markers[channel], keeps=KEEPS[channel])
            by_channel[channel].append(judged)
        names = [each["event"] for each in member.client.events]
        report.connects += names.count("connected")
        for event in member.client.events:
            if event["event"] in ("disconnected", "unsubscribed"):
                report.given_up += 1
                why = f"{event['event']} {event.get('code')} {event.get('reason')}"
                report.endings[why] = report.endings.get(why, 0) + 1
    for audits in by_channel.values():
        summed = total(audits)
        report.delivered += summed.heard
        report.duplicates += summed.duplicates
        report.recoveries += summed.recoveries
        report.lost += summed.lost
        report.disorder += summed.disorder
        report.corrupt += summed.corrupt
        report.trimmed += summed.forgiven
        report.unrecovered += summed.unrecovered
    return report


def _look_for_leftovers(
    report: Report, stack: Stack, app: bootstrap.App, members: Sequence[Member]
) -> None:
    """The table has exactly what lives, once it was swept and what is left was met.

    A row of a join that died before its connection knew of it is met by a publication, and taken
    for dead after ``limits.JOIN_SECONDS``.
    """
    caller = _Caller(urlsplit(stack.http).netloc, api_key())
    give_up_at = monotonic() + limits.JOIN_SECONDS + MARKER_SECONDS
    while True:
        for _ in range(app.store.BUCKETS):  # each run sweeps one at least
            app.sweep.run()
        stack.gateway.quiet(timeout=60)
        _compare(report, app, stack.gateway, members)
        if not report.stale or monotonic() > give_up_at:
            break
        threading.Event().wait(MARKER_SECONDS)
        for channel in CHANNELS:
            caller.publish(channel, "to be rid of what is left")
    caller.close()


def _compare(
    report: Report, app: bootstrap.App, gateway: LocalGateway, members: Sequence[Member]
) -> None:
    expected = {
        (channel, str(_newest_id(member.client)))
        for member in members
        for channel in member.channels
    }
    rows = {
        (channel, row.connection_id)
        for channel in CHANNELS
        for shard in range(app.settings.channels.options(channel).all_shards)
        for page in app.store.subscriptions(channel, shard)
        for row in page
    }
    known = {
        connection.id
        for bucket in range(app.store.BUCKETS)
        for page in app.store.connections(bucket)
        for connection in page
    }
    report.stale = len(rows - expected) + len(known - set(gateway.connection_ids()))
    report.missing = len(expected - rows)


def _newest_id(client: Client) -> object:
    return [each["client"] for each in client.events if each["event"] == "connected"][-1]


def _table(report: Report) -> str:
    width = max(map(len, asdict(report)))
    return "".join(f"{name:{width}}  {value}\n" for name, value in asdict(report).items())


def _circumstances(arguments: Sequence[str]) -> dict[str, object]:
    """Without which a number means nothing."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    )
    return {
        "bench": "chaos",
        "command": " ".join(["bin/bench", "chaos", *arguments]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": described.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
    }
