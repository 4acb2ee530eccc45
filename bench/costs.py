"""CPU and script time per process, and their differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.harness import BenchHarness, Process, cpu_s, cpu_s_of

_DATABASES = ("postgres", "mariadbd")


@dataclass(frozen=True)
class Costs:
    """Seconds since the start of each process."""

    producer: float
    """CPU."""
    redis: float
    """Time in scripts, as reported by Redis."""
    database: float
    """CPU of all database servers on this machine."""

    def per_monitor_us(self, before: "Costs", count: int) -> tuple[float, float, float]:
        """µs spent on each of `count` monitors since `before`: producer, Redis, database."""
        return (
            (self.producer - before.producer) / count * 1e6,
            (self.redis - before.redis) / count * 1e6,
            (self.database - before.database) / count * 1e6,
        )


async def costs(harness: BenchHarness, producers: Sequence[Process]) -> Costs:
    """The costs so far."""
    counts = await harness.redis.info("commandstats")
    in_scripts = sum(counts.get(f"cmdstat_{name}", {}).get("usec", 0) for name in ("eval", "evalsha"))
    return Costs(sum(map(cpu_s, producers)), in_scripts / 1e6, sum(map(cpu_s_of, _databases())))


def _databases() -> list[int]:
    found = []
    for each in Path("/proc").glob("[0-9]*/comm"):
        try:
            if each.read_text().strip() in _DATABASES:
                found.append(int(each.parent.name))
        except OSError:  # it ended meanwhile
            pass
    return found
