"""Time without a leader, after the leader was killed and after it was stopped."""

import asyncio
import signal
import time

from bench.figures import Figure
from bench.harness import BenchHarness, Process
from bench.options import Options
from peekaping_producer.producer.timing import TIMING
from peekaping_producer.schedule.keys import KEYS
from tests.kit.replicas import leader_pid

_WITHIN_S = 30.0


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Send the signal right after a renewal: the longest time until the key expires."""
    await harness.fill(options.monitors or 1000)
    crash = [await _round(harness, signal.SIGKILL) for _ in range(options.rounds)]
    clean = [await _round(harness, signal.SIGTERM) for _ in range(options.rounds)]
    return [
        Figure("failover after SIGKILL", "s", crash, required=11, target=10.5),
        Figure("failover after SIGTERM", "s", clean, required=2, target=1),
    ]


async def _round(harness: BenchHarness, how: signal.Signals) -> float:
    await harness.redis.delete(KEYS.leader)
    async with harness.replicas(2) as replicas:
        leader = await _leader(harness, replicas)
        await asyncio.sleep(2)  # both are up, and the other one has campaigned and lost
        while await harness.redis.pttl(KEYS.leader) < TIMING.leader_ttl_s * 1000 - 50:
            await asyncio.sleep(0.005)
        leader.send_signal(how)
        began_at = time.monotonic()
        await _leader(harness, [each for each in replicas if each is not leader])
        return time.monotonic() - began_at


async def _leader(harness: BenchHarness, replicas: list[Process]) -> Process:
    """Wait for one of `replicas` to lead, and return it."""
    async with asyncio.timeout(_WITHIN_S):
        while True:
            pid = await leader_pid(harness.redis)
            for each in replicas:
                if each.pid == pid:
                    return each
            await asyncio.sleep(0.005)
