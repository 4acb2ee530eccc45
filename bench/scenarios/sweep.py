"""Throughput by batch, workers and replicas, for the plot; not a default scenario."""

import msgspec

from bench.figures import Figure
from bench.harness import BenchHarness
from bench.options import Options
from bench.scenarios.throughput import INTERVAL, MONITORS, rate

BATCHES = (50, 100, 200, 500, 1000)
WORKERS = (1, 2, 4, 10, 32)
REPLICAS = (1, 2, 3)


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Vary one parameter at a time; the others have the values of the options."""
    ids = await harness.fill(options.monitors or MONITORS, interval=INTERVAL)
    figures = []
    for axis, values in (("batch", BATCHES), ("workers", WORKERS), ("replicas", REPLICAS)):
        for value in values:
            changed = {"workers": "concurrency"}.get(axis, axis)
            these = msgspec.structs.replace(options, **{changed: value})
            rates = [await rate(harness, ids, these, these.replicas) for _ in range(options.rounds)]
            figures.append(Figure(f"throughput, {axis} {value}", "monitors/s", rates, better="higher"))
    return figures
