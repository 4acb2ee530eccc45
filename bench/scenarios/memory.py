"""Memory of a replica with many monitors, after a cold start and some syncs."""

import subprocess
import sys

from bench.figures import Figure
from bench.harness import BenchHarness, memory_mb
from bench.metrics_client import MetricsClient
from bench.options import Options
from bench.queue_checks import handed_off_at_ms

MONITORS = 100_000
SYNCS = 4
IMPORTS = "import peekaping_producer.cli.main, peekaping_producer.producer.replica, peekaping_producer.stores.postgres"
_PRINT_RSS = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')))"


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure current and peak RSS, and RSS after the imports alone."""
    count = options.monitors or MONITORS
    rounds = [await _round(harness, count) for _ in range(options.rounds)]
    now, peak = ([each[n] for each in rounds] for n in range(2))
    return [
        Figure(f"RSS at {count:,} monitors", "MB", now, required=120, target=80),
        Figure(f"peak RSS at {count:,} monitors", "MB", peak),
        Figure("RSS after the imports alone", "MB", [_imports_mb()]),
    ]


async def _round(harness: BenchHarness, count: int) -> tuple[float, float]:
    ids = await harness.fill(count)
    client = MetricsClient()
    async with harness.replicas(1, SYNC_INTERVAL="5", **client.settings) as (replica,):
        await harness.all_handed_off(count, [replica])
        await client.sync_seconds(SYNCS)
        await handed_off_at_ms(harness.redis, ids)
        return memory_mb(replica), memory_mb(replica, "VmHWM")


def _imports_mb() -> float:
    printed = subprocess.run([sys.executable, "-c", f"{IMPORTS}; {_PRINT_RSS}"], check=True, capture_output=True)
    return int(printed.stdout) * 1024 / 1e6
