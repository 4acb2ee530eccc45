"""Throughput of two replicas against that of one, on the same cores.

A round is one, two, two, one, so that a drift of the machine affects both.
"""

from statistics import median

from bench.figures import Figure
from bench.harness import BenchHarness
from bench.options import Options
from bench.scenarios.throughput import INTERVAL, MONITORS, rate

MAX_NOISE = 0.1


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Two must not be slower than one minus the noise of one replica, of which at most 10 % count."""
    ids = await harness.fill(options.monitors or MONITORS, interval=INTERVAL)
    one: list[float] = []
    two: list[float] = []
    for _ in range(options.rounds):
        for replicas, rates in ((1, one), (2, two), (2, two), (1, one)):
            rates.append(await rate(harness, ids, options, replicas))
    ratios = [sum(two[n : n + 2]) / sum(one[n : n + 2]) for n in range(0, len(one), 2)]
    noise = min(MAX_NOISE, (max(one) - min(one)) / 2 / median(one))
    note = f"1 minus {100 * noise:.0f} % of noise"
    return [
        Figure("one replica", "monitors/s", one, better="higher"),
        Figure("two replicas", "monitors/s", two, better="higher"),
        Figure("two replicas against one", "x", ratios, better="higher", required=1 - noise, note=note),
    ]
