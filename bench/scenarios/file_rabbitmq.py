"""Lines per second from a file through `relay` to RabbitMQ, relative to a Go client and to syslog-ng in the same round.

A durable classic queue; each line has 100 bytes. Ours counts until the checkpoint has passed the last line, the Go
client until all is confirmed (window 500), syslog-ng, which asks for no confirmation, until all is in the queue.
"""

import time

from bench.figures import Figure
from bench.harness import BenchHarness, cpu_s
from bench.messages.commands import LINE_BYTES, rabbitmq_environment, relay
from bench.messages.rabbitmq import BenchBroker, broker
from bench.messages.syslog_ng import MISSING, in_queue, syslog_ng, version
from bench.options import Options

LINES = 100_000


async def run(_harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure the Go client before and after the others, since machines drift."""
    count = options.messages or LINES
    limits, rates, cpu, of_syslog_ng = [], [], [], []
    async with broker() as rabbitmq:
        for _ in range(options.rounds):
            before = await rabbitmq.go_publish_rate(count, LINE_BYTES)
            rate, spent_us = await _relay_rate(rabbitmq, count)
            if version():
                of_syslog_ng.append(await _syslog_ng_rate(rabbitmq, count))
            limits.append((before + await rabbitmq.go_publish_rate(count, LINE_BYTES)) / 2)
            rates.append(rate)
            cpu.append(spent_us)
    shares = [ours / limit for ours, limit in zip(rates, limits, strict=True)]
    against = [ours / theirs for ours, theirs in zip(rates, of_syslog_ng, strict=False)]
    return [
        Figure("Go client, confirmed", "lines/s", limits, better="higher"),
        Figure("file to RabbitMQ", "lines/s", rates, better="higher"),
        Figure("file to RabbitMQ / Go client", "x", shares, better="higher", required=0.35, target=0.6),
        Figure("CPU of the relay", "µs/line", cpu, required=60, target=35),
        Figure("syslog-ng, not confirmed", "lines/s", of_syslog_ng, better="higher", note="" if against else MISSING),
        Figure(
            "file to RabbitMQ / syslog-ng",
            "x",
            against,
            better="higher",
            required=0.5,
            target=0.8,
            note="" if against else MISSING,
        ),
    ]


async def _relay_rate(rabbitmq: BenchBroker, count: int) -> tuple[float, float]:
    """Lines per second, and µs of CPU for each."""
    await rabbitmq.empty()
    async with relay(rabbitmq_environment(rabbitmq.target)) as running:
        cpu_before, began_at = cpu_s(running.process), time.perf_counter()
        running.file.append(count)
        await running.confirmed()
        took_s, spent_s = time.perf_counter() - began_at, cpu_s(running.process) - cpu_before
        await rabbitmq.holds(running.file)
        return count / took_s, spent_s / count * 1e6


async def _syslog_ng_rate(rabbitmq: BenchBroker, count: int) -> float:
    await rabbitmq.empty()
    async with syslog_ng(rabbitmq) as (process, file):
        began_at = time.perf_counter()
        file.append(count)
        await in_queue(rabbitmq, process, file)
        took_s = time.perf_counter() - began_at
        await rabbitmq.holds(file)
        return count / took_s
