"""Requests per second of `serve` on RabbitMQ, relative to two usual stacks; its batches, relative to a Go client.

64 connections, each of which sends its next request after the answer to the last one. In each round all are measured in
turn; afterwards the queue must contain exactly the messages that were answered with 200. Then batches become due four
times as fast as they were accepted before: the surplus must be refused (503), and nothing of the rest may be lost.
"""

from statistics import mean

from bench.figures import Figure
from bench.harness import BenchHarness, Process, cpu_s, memory_mb
from bench.messages.commands import LINE_BYTES
from bench.messages.http_load import Load, LoadClient, load_client
from bench.messages.http_servers import FASTAPI, FLASK, FLASK_PER_THREAD, peer, serve
from bench.messages.rabbitmq import BenchBroker, broker
from bench.options import Options

CONNECTIONS = 64
BATCH = 100
SECONDS = 5
OVERLOAD = 4
OVERLOAD_CONNECTIONS = 400
MESSAGES = 100_000
"""Of the Go client."""
_FLASK = "Flask, waitress, pika"
_FLASK_PER_THREAD = f"{_FLASK} per thread"
_FASTAPI = "FastAPI, uvicorn, FastStream"
PEERS = {_FLASK: FLASK, _FLASK_PER_THREAD: FLASK_PER_THREAD, _FASTAPI: FASTAPI}
"""By the names of their figures."""


class Rounds:
    """The values of all rounds by name."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        """Append the value of a round."""
        self._values.setdefault(name, []).append(value)

    def of(self, name: str) -> list[float]:
        """The values of all rounds."""
        return self._values[name]

    def ratios(self, name: str, other: str) -> list[float]:
        """Of one to the other, in each round."""
        return [ours / theirs for ours, theirs in zip(self.of(name), self.of(other), strict=True)]


async def run(_harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure the Go client before and after the batches, since machines drift."""
    rounds = Rounds()
    async with broker() as rabbitmq, load_client() as client:
        for _ in range(options.rounds):
            await _measure_serve(rabbitmq, client, options.messages or MESSAGES, rounds)
            for name, which in PEERS.items():
                async with peer(which, rabbitmq) as (process, port):
                    await _measure_single(name, process, port, rabbitmq, client, rounds)
    return _figures(rounds)


async def _measure_serve(rabbitmq: BenchBroker, client: LoadClient, count: int, rounds: Rounds) -> None:
    async with serve(rabbitmq) as (process, port):
        await _measure_single("serve", process, port, rabbitmq, client, rounds)
        before = await rabbitmq.go_publish_rate(count, LINE_BYTES)
        load = await client.run(port, connections=CONNECTIONS, seconds=SECONDS, batch=BATCH)
        await _contains(rabbitmq, load)
        rounds.add("batches", load.produced / load.seconds)
        rounds.add("Go", mean([before, await rabbitmq.go_publish_rate(count, LINE_BYTES)]))
        await _overload(process, port, rabbitmq, client, rounds)


async def _measure_single(
    name: str, process: Process, port: int, rabbitmq: BenchBroker, client: LoadClient, rounds: Rounds
) -> None:
    await rabbitmq.empty()
    cpu_before = cpu_s(process)
    load = await client.run(port, connections=CONNECTIONS, seconds=SECONDS)
    spent_s = cpu_s(process) - cpu_before
    assert not load.refused, f"{name} refused {load.refused:,} of {load.requests:,} requests"
    await _contains(rabbitmq, load)
    rounds.add(name, load.requests / load.seconds)
    rounds.add(f"{name}: CPU", spent_s / load.requests * 1e6)
    rounds.add(f"{name}: p99", load.p99_ms)


async def _overload(process: Process, port: int, rabbitmq: BenchBroker, client: LoadClient, rounds: Rounds) -> None:
    per_s = round(OVERLOAD * rounds.of("batches")[-1] / BATCH)
    memory_before = memory_mb(process)
    load = await client.run(port, connections=OVERLOAD_CONNECTIONS, seconds=SECONDS, batch=BATCH, per_s=per_s)
    await _contains(rabbitmq, load)
    rounds.add("overload: refused", 100 * load.refused / load.requests)
    rounds.add("overload: p99 of a refusal", load.p99_refused_ms)
    rounds.add("overload: accepted", load.produced / load.seconds / rounds.of("batches")[-1])
    rounds.add("overload: growth", memory_mb(process, "VmHWM") - memory_before)


async def _contains(rabbitmq: BenchBroker, load: Load) -> None:
    """Empty the queue. AssertionError unless it contained what was answered with 200."""
    ready = await rabbitmq.ready()
    assert ready == load.produced, f"{load.produced:,} messages were answered with 200, {ready:,} are in the queue"
    await rabbitmq.empty()


def _figures(rounds: Rounds) -> list[Figure]:
    def figure(name: str, unit: str, values: list[float]) -> Figure:
        return Figure(name, unit, values, better="higher")

    def ratio(name: str, values: list[float], required: float, target: float) -> Figure:
        return Figure(name, "x", values, better="higher", required=required, target=target)

    names = ["serve", *PEERS]
    return [
        *(figure(f"/produce, {name}", "requests/s", rounds.of(name)) for name in names),
        ratio(f"/produce / {_FLASK}", rounds.ratios("serve", _FLASK), 4, 8),
        figure(f"/produce / {_FLASK_PER_THREAD}", "x", rounds.ratios("serve", _FLASK_PER_THREAD)),
        ratio(f"/produce / {_FASTAPI}", rounds.ratios("serve", _FASTAPI), 2, 4),
        *(Figure(f"CPU, {name}", "µs/request", rounds.of(f"{name}: CPU")) for name in names),
        *(Figure(f"p99, {name}", "ms", rounds.of(f"{name}: p99")) for name in names),
        figure("Go client, confirmed", "messages/s", rounds.of("Go")),
        figure(f"/batch-produce of {BATCH}", "messages/s", rounds.of("batches")),
        ratio(f"/batch-produce of {BATCH} / Go client", rounds.ratios("batches", "Go"), 0.35, 0.6),
        figure(f"accepted at {OVERLOAD} times the load / at its limit", "x", rounds.of("overload: accepted")),
        Figure("refused then", "%", rounds.of("overload: refused")),
        Figure("p99 of a refusal", "ms", rounds.of("overload: p99 of a refusal")),
        Figure("growth of memory then", "MB", rounds.of("overload: growth"), required=64, target=32),
    ]
