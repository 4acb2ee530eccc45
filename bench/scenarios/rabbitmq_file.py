"""Messages per second from RabbitMQ through `consume --to-file --dedup`, relative to PerfTest's consumer.

Without PerfTest, a Go client takes its place. Both acknowledge by hand; ours writes each message to disk before.
"""

import asyncio
import hashlib
import signal
import time
from pathlib import Path

from bench.figures import Figure
from bench.harness import BenchHarness, Process, cpu_s, reaches
from bench.messages import perf_test
from bench.messages.commands import LINE_BYTES, command, lines, rabbitmq_environment
from bench.messages.rabbitmq import BenchBroker, broker
from bench.options import Options
from tests.kit import processes

MESSAGES = 100_000


async def run(_harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure the peers and ours, one right after the other, in each round."""
    count = options.messages or MESSAGES
    rates, cpu, of_go, of_perf_test = [], [], [], []
    async with broker() as rabbitmq:
        for _ in range(options.rounds):
            await rabbitmq.fill(count, LINE_BYTES)
            of_go.append((await rabbitmq.go_consume(count))[0])
            await rabbitmq.fill(count, LINE_BYTES)
            rate, spent_us = await _consume_rate(rabbitmq, count)
            rates.append(rate)
            cpu.append(spent_us)
            if perf_test.is_installed():
                await rabbitmq.fill(count, LINE_BYTES)
                of_perf_test.append(await perf_test.consume_rate(rabbitmq, count))
    peer, limits = ("PerfTest", of_perf_test) if of_perf_test else ("Go client", of_go)
    shares = [ours / limit for ours, limit in zip(rates, limits, strict=True)]
    note = "" if of_perf_test else f"PerfTest: {perf_test.MISSING}"
    return [
        Figure("Go client, consumer", "messages/s", of_go, better="higher"),
        Figure("PerfTest, consumer", "messages/s", of_perf_test, better="higher", note=note),
        Figure("RabbitMQ to file", "messages/s", rates, better="higher"),
        Figure(f"RabbitMQ to file / {peer}", "x", shares, better="higher", required=0.2, target=0.35, note=note),
        Figure("CPU of the consumer", "µs/message", cpu),
    ]


async def _consume_rate(rabbitmq: BenchBroker, count: int) -> tuple[float, float]:
    """Messages per second from the first batch in the file to the last, and µs of CPU for each message."""
    with processes.directory("peekaping-bench-") as directory:
        output = directory / "output.txt"
        arguments = ("peekaping_producer", "consume", "--to-file", str(output), "--dedup")
        with command(directory, rabbitmq_environment(rabbitmq.target), *arguments) as process:
            first = await _first_batch(output, process)
            cpu_before, began_at = cpu_s(process), time.perf_counter()

            async def written() -> int:
                return _written(output)

            await reaches(count, written, "messages written", [process])
            took_s, spent_s = time.perf_counter() - began_at, cpu_s(process) - cpu_before
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait)
        left = await rabbitmq.ready()
        assert left == 0, f"{left:,} messages were not acknowledged"
        expected = hashlib.sha256(lines(0, count)).digest()
        assert hashlib.sha256(output.read_bytes()).digest() == expected, "the file does not contain each message once"
        measured = count - first
        return measured / took_s, spent_s / measured * 1e6


async def _first_batch(output: Path, process: Process) -> int:
    """Wait until the file contains messages; return how many."""
    while not (count := _written(output)):
        assert process.poll() is None, "the consumer ended by itself: run it by hand to see the reason"
        await asyncio.sleep(0.005)
    return count


def _written(output: Path) -> int:
    return output.stat().st_size // (LINE_BYTES + 1) if output.exists() else 0
