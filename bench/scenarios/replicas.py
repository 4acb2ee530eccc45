"""Whether a second replica, which is there for availability, slows the first one down on the same cores."""

from bench.figures import Figure
from bench.ground import Ground
from bench.options import Options
from bench.scenarios.throughput import INTERVAL, MONITORS, rate


async def run(ground: Ground, options: Options) -> list[Figure]:
    """One and two in turn, so that both see the same noise."""
    ids = await ground.fill(options.monitors or MONITORS, interval=INTERVAL)
    ratios = []
    for _ in range(options.rounds):
        alone = await rate(ground, ids, options, 1)
        ratios.append(await rate(ground, ids, options, 2) / alone)
    return [Figure("two replicas against one", "x", ratios, better="higher", must=1.0)]
