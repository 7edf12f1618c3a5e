"""The senders that ``bench fanout`` compares: one a process, so that each pays for itself only.

``python -m bench.senders NAME URL CA_BUNDLE COUNT CONNECTIONS`` sends COUNT posts of 300 bytes
after a tenth as many to warm up, and prints the measurement as JSON.
"""

import asyncio
import json
import random
import resource
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from chalicelib.model import Post
from chalicelib.transport.http1 import parse
from chalicelib.transport.management import Limits, ManagementTransport, World
from chalicelib.transport.sigv4 import Credentials, Signer, Target

BODY = b'{"push":{"channel":"orders:42","pub":{"data":"' + b"x" * 240 + b'","offset":21}}}'
IDENTITY = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
REGION = "eu-west-1"
WITHIN = 600.0  # seconds

Send = Callable[[Iterable[str]], "Counter[str]"]


def ids(count: int) -> Iterator[str]:
    """Return connection ids; one in twenty begins with G, which stage ``mixed`` takes for gone."""
    return (f"{'G' if number % 20 == 0 else 'L'}{number:014d}=" for number in range(count))


def ours(url: str, ca_bundle: str, connections: int) -> Send:
    """The selectors loop of chalicelib/transport, its rate not limited."""
    transport = ManagementTransport(
        lambda: url,
        lambda: IDENTITY,
        REGION,
        world=World(now=time.time, monotonic=time.monotonic, random=random.random),  # noqa: TID251 - entry point
        limits=Limits(rate=1e9, connections=connections, answer=0.5),
        ca_bundle=ca_bundle,
    )

    def send(recipients: Iterable[str]) -> "Counter[str]":
        posts = (Post(each, (BODY,)) for each in recipients)
        return Counter(outcome.value for _, outcome in transport.send(posts, within=WITHIN))

    return send


def _client(url: str, ca_bundle: str, connections: int) -> Any:
    import boto3  # noqa: TID251 - it is what we compare with
    from botocore.config import Config  # noqa: TID251 - likewise

    return boto3.client(
        "apigatewaymanagementapi",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=IDENTITY.access_key,
        aws_secret_access_key=IDENTITY.secret_key,
        verify=ca_bundle,
        config=Config(max_pool_connections=connections),
    )


def boto3_sequential(url: str, ca_bundle: str, connections: int) -> Send:
    """What every tutorial does."""
    client = _client(url, ca_bundle, 1)

    def send(recipients: Iterable[str]) -> "Counter[str]":
        outcomes: Counter[str] = Counter()
        for each in recipients:
            client.post_to_connection(ConnectionId=each, Data=BODY)
            outcomes["delivered"] += 1
        return outcomes

    return send


def boto3_threads(url: str, ca_bundle: str, connections: int) -> Send:
    """What the better tutorials do: a pool of threads, one client."""
    from concurrent.futures import ThreadPoolExecutor

    client = _client(url, ca_bundle, connections)
    pool = ThreadPoolExecutor(connections)

    def send(recipients: Iterable[str]) -> "Counter[str]":
        def one(each: str) -> str:
            client.post_to_connection(ConnectionId=each, Data=BODY)
            return "delivered"

        return Counter(pool.map(one, recipients))

    return send


def asyncio_streams(url: str, ca_bundle: str, connections: int) -> Send:
    """Our signature and parser on asyncio's streams; no retries, no timeouts."""
    target = Target.of(url)
    context = ssl.create_default_context(cafile=ca_bundle)
    signer = Signer(target, IDENTITY, REGION)
    loop = asyncio.new_event_loop()
    streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def work(number: int, queue: Iterator[str], outcomes: "Counter[str]") -> None:
        if number >= len(streams):
            streams.append(await asyncio.open_connection(target.hostname, target.port, ssl=context))
            number = len(streams) - 1
        reader, writer = streams[number]
        for each in queue:
            writer.write(signer.request("POST", each, BODY))
            answer = parse(await reader.readuntil(b"\r\n\r\n"))
            assert answer is not None and answer.status == 200
            outcomes["delivered"] += 1

    async def everybody(recipients: Iterable[str], outcomes: "Counter[str]") -> None:
        signer.at(time.time())  # noqa: TID251 - entry point
        queue = iter(recipients)
        await asyncio.gather(*(work(number, queue, outcomes) for number in range(connections)))

    def send(recipients: Iterable[str]) -> "Counter[str]":
        outcomes: Counter[str] = Counter()
        loop.run_until_complete(everybody(recipients, outcomes))
        return outcomes

    return send


SENDERS: dict[str, Callable[[str, str, int], Send]] = {
    sender.__name__: sender for sender in (ours, boto3_sequential, boto3_threads, asyncio_streams)
}


def measure(argv: list[str]) -> None:
    """Measure one sender in this process."""
    name, url, ca_bundle, count, connections = argv
    send = SENDERS[name](url, ca_bundle, int(connections))
    begin = _spent()
    warm_up = max(1, int(count) // 10)
    send(ids(warm_up))
    warm = _spent()
    outcomes = send(ids(int(count)))
    end = _spent()
    measured = {
        "cpu_us": (end[1] - warm[1]) / int(count) * 1e6,
        "per_second": int(count) / (end[0] - warm[0]),
        "cold_cpu_ms": (warm[1] - begin[1]) * 1e3,
        "outcomes": outcomes,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": threading.active_count(),
    }
    print(json.dumps(measured))  # noqa: T201 - the answer to bench.fanout


def _spent() -> tuple[float, float]:
    """Return wall clock and CPU (all threads), in seconds."""
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    measure(sys.argv[1:])
