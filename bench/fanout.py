"""``bin/bench fanout``: our sender beside boto3 and wrk, on one sink, in one run.

One core for the client, one for the sink. The senders take turns, and a figure is the median of
its rounds; what counts are the ratios. wrk, which neither signs nor retries, is the limit.
"""

import argparse
import datetime
import json
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.senders import BODY
from bench.sink import Sink, running

CLIENT, SINK = 0, 1  # cores
RESULTS = Path(__file__).parent / "results"
WRK_SECONDS = 3
WRK_CONNECTIONS = 64

Measured = dict[str, Any]

# name → sender, stage, sends, connections
RUNS: dict[str, tuple[str, str, int, int]] = {
    "boto3 sequential": ("boto3_sequential", "api", 1_000, 1),
    "boto3, 16 threads": ("boto3_threads", "api", 1_000, 16),
    "asyncio streams": ("asyncio_streams", "api", 10_000, 64),
    "carillon": ("ours", "api", 10_000, 128),
    "boto3 sequential, 10 ms": ("boto3_sequential", "slow", 150, 1),
    "boto3, 64 threads, 10 ms": ("boto3_threads", "slow", 1_000, 64),
    "carillon, 128, 10 ms": ("ours", "slow", 20_000, 128),
    "carillon, 256, 10 ms": ("ours", "slow", 40_000, 256),
    "carillon, clean": ("ours", "api", 100_000, 128),
    "carillon, mixed faults": ("ours", "mixed", 100_000, 128),
}


def main(argv: Sequence[str]) -> int:
    """Run everything, print a table and, last, one line of JSON; keep it under results/."""
    parser = argparse.ArgumentParser(prog="bin/bench fanout", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="write the results to bench/results")
    options = parser.parse_args(argv)
    rounds: dict[str, list[Measured]] = {name: [] for name in [*RUNS, "wrk"]}
    with running(SINK) as sink:
        for _ in range(options.rounds):
            for name in RUNS:
                rounds[name].append(_measure(sink, name))
            rounds["wrk"].append(_wrk(sink))
    medians = {name: _median(measured) for name, measured in rounds.items()}
    ratios = _ratios(medians)
    _print_table(medians)
    if options.keep:
        _keep(medians, ratios, argv)
    _say(json.dumps(ratios))
    return 0


def _measure(sink: Sink, name: str) -> Measured:
    sender, stage, count, connections = RUNS[name]
    command = ["taskset", "-c", str(CLIENT), sys.executable, "-m", "bench.senders", sender]
    command += [f"{sink.url}/{stage}", sink.ca_bundle, str(count), str(connections)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: Measured = json.loads(done.stdout)
    gone = count // 20 if stage == "mixed" else 0
    outcomes = {"delivered": count - gone, "gone": gone} if gone else {"delivered": count}
    if measured["outcomes"] != outcomes:
        raise RuntimeError(f"{name}: {measured['outcomes']} instead of {outcomes}; {done.stderr}")
    return measured


def _wrk(sink: Sink) -> Measured:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f'wrk.method="POST"\nwrk.body=string.rep("x", {len(BODY)})\n')
        script.flush()
        command = ["taskset", "-c", str(CLIENT), "wrk", "-t1", f"-c{WRK_CONNECTIONS}"]
        command += [f"-d{WRK_SECONDS}", "-s", script.name]
        command += [f"{sink.url}/api/@connections/L00000000000001%3D"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"Requests/sec:\s+([0-9.]+)", text)
    if found is None or "Non-2xx" in text:
        raise RuntimeError(f"wrk said: {text}")
    return {"per_second": float(found[1]), "cpu_us": 1e6 / float(found[1])}


def _median(rounds: list[Measured]) -> Measured:
    keys = [key for key, value in rounds[0].items() if isinstance(value, (int, float))]
    return {key: statistics.median(each[key] for each in rounds) for key in keys}


def _ratios(of: dict[str, Measured]) -> dict[str, float]:
    def faster(name: str, than: str) -> float:
        return float(of[name]["per_second"] / of[than]["per_second"])

    ratios = {
        "cpu_ratio_tls": of["boto3 sequential"]["cpu_us"] / of["carillon"]["cpu_us"],
        "throughput_ratio_tls": faster("carillon", "boto3 sequential"),
        "throughput_ratio_tls_10ms": faster("carillon, 128, 10 ms", "boto3 sequential, 10 ms"),
        "throughput_ratio_tls_10ms_256": faster("carillon, 256, 10 ms", "boto3 sequential, 10 ms"),
        "share_of_wrk": faster("carillon", "wrk"),
        "mixed_fault_throughput_share": faster("carillon, mixed faults", "carillon, clean"),
        "mixed_fault_memory_ratio": of["carillon, mixed faults"]["peak_rss_mb"]
        / of["carillon, clean"]["peak_rss_mb"],
    }
    return {key: round(value, 3) for key, value in ratios.items()}


def _print_table(medians: dict[str, Measured]) -> None:
    _say(f"{'sender':28}{'CPU µs a send':>16}{'sends a second':>16}{'peak MB':>10}")
    for name, measured in medians.items():
        memory = f"{measured['peak_rss_mb']:.0f}" if "peak_rss_mb" in measured else ""
        _say(f"{name:28}{measured['cpu_us']:16.1f}{measured['per_second']:16,.0f}{memory:>10}")


def _keep(medians: dict[str, Measured], ratios: dict[str, float], argv: Sequence[str]) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    kept = {
        "date": now.isoformat(timespec="seconds"),
        "commit": _output("git", "rev-parse", "--short", "HEAD"),
        "machine": _machine(),
        "command": " ".join(["bin/bench", "fanout", *argv]),
        "ratios": ratios,
        "medians": medians,
    }
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"fanout-{now:%Y%m%d-%H%M}.json"
    file.write_text(json.dumps(kept, indent=1) + "\n")


def _machine() -> str:
    cpu = re.search(r"Model name:\s*(.*)", _output("lscpu"))
    cores = _output("nproc")
    return (
        f"{cpu[1] if cpu else platform.machine()}, {cores} cores, Python {sys.version.split()[0]}"
    )


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _say(line: str) -> None:
    print(line)  # noqa: T201 - what the command is for
