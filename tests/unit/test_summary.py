"""The line a minute: what it counts, for which time, and which leader it names."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from peekaping_producer.errors import RedisUnavailableError
from peekaping_producer.metrics import Metrics, quantile
from peekaping_producer.producer.loops.summary import Summary
from peekaping_producer.schedule import Stats
from peekaping_producer.service.dependencies import Dependencies
from tests.kit.vitals import STATS


class Scene:
    def __init__(self, logged: list[dict[str, object]]) -> None:
        self.now = 1000.0
        self.metrics = Metrics()
        self.stats = STATS
        self.away = False
        self._logged = logged
        self.summary = Summary(
            "node",
            stats=self._stats,
            metrics=self.metrics,
            dependencies=Dependencies(self.metrics),
            interval_s=60,
            clock=lambda: self.now,
        )

    async def _stats(self) -> Stats:
        if self.away:
            raise RedisUnavailableError("away")
        return self.stats

    async def line(self) -> dict[str, object]:
        self._logged.clear()
        assert await self.summary.run_once() == 60
        [line] = self._logged
        return line


@pytest.fixture
def scene() -> Iterator[Scene]:
    with capture_logs() as logged:
        yield Scene(logged)


async def test_it_counts_what_was_done_since_the_last_line(scene: Scene) -> None:
    scene.metrics.handed_off.labels("enqueued").inc(7)
    scene.metrics.handed_off.labels("overlap").inc(2)
    scene.metrics.handed_off.labels("lost").inc()
    scene.metrics.schedule_lag.observe_all([0.004] * 95 + [0.2] * 5)
    scene.now += 60
    line = await scene.line()
    assert line["log_level"] == "info"
    assert line.items() >= {"event": "replica.summary", "for_s": 60, "handed_off": 9, "overlap": 2, "lost": 1}.items()
    assert line["late_p99_s"] == 0.25
    assert (line["scheduled"], line["overdue"]) == (STATS.due + STATS.leased, STATS.overdue)

    scene.metrics.handed_off.labels("enqueued").inc(3)
    scene.metrics.schedule_lag.observe_all([0.004] * 3)
    scene.now += 60
    line = await scene.line()
    assert (line["handed_off"], line["late_p99_s"]) == (3, 0.005)
    assert "overlap" not in line


async def test_a_quiet_minute_is_a_line_too(scene: Scene) -> None:
    line = await scene.line()
    assert (line["handed_off"], line["late_p99_s"]) == (0, None)


async def test_time_without_redis_is_part_of_the_next_line(scene: Scene) -> None:
    scene.now += 60
    scene.away = True
    scene.metrics.handed_off.labels("enqueued").inc(5)
    with pytest.raises(RedisUnavailableError):
        await scene.summary.run_once()
    scene.away = False
    scene.now += 30
    line = await scene.line()
    assert (line["for_s"], line["handed_off"]) == (90, 5)


@pytest.mark.parametrize(
    ("leader", "message"),
    [
        ("node/1", "Working; this replica leads."),
        ("node-2/1", "Working; another replica leads."),
        (None, "Working; no replica leads."),
    ],
)
async def test_it_names_the_leader(scene: Scene, leader: str | None, message: str) -> None:
    scene.stats = Stats(**{name: getattr(STATS, name) for name in STATS.__struct_fields__} | {"leader": leader})
    line = await scene.line()
    assert (line["leader"], line["message"]) == (leader, message)


def test_a_quantile_is_the_bound_of_its_bucket() -> None:
    counts = [0] * 15
    assert quantile(0.99, counts) is None
    counts[2] = 1
    assert quantile(0.99, counts) == 0.025
    counts[0] = 99
    assert quantile(0.99, counts) == 0.005
    counts[14] = 1000
    assert quantile(0.99, counts) == 300.0, "above the last bound"
    assert quantile(0.0, counts) == 0.005


def test_lost_log_lines_are_served_as_a_counter() -> None:
    metrics = Metrics(dropped_lines=lambda: 7)
    assert metrics.registry.get_sample_value("peekaping_producer_log_lines_dropped_total") == 7


def test_metrics_hold_the_process_and_no_times_of_creation() -> None:
    metrics = Metrics()
    metrics.handed_off.labels("enqueued").inc()
    names = {sample.name for metric in metrics.registry.collect() for sample in metric.samples}
    assert not [name for name in names if name.endswith("_created")]
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} <= names
