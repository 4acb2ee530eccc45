"""One judgment per dependency and process: what is logged, when, and what counts as failing."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from peekaping_producer.errors import (
    DATABASE,
    REDIS,
    BatchError,
    DependencyError,
    RedisRefusedError,
    RedisUnavailableError,
    StoreRefusedError,
    StoreUnavailableError,
)
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import REMIND_AFTER_S, Dependencies, Trouble
from peekaping_producer.stores.errors import READ_TIMED_OUT, StatementCanceledError

AWAY = RedisUnavailableError("Connection refused")
LOOPS = ("worker", "leader", "reclaimer", "vitals", "sync", "hints", "events")


class Scene:
    def __init__(self, logged: list[dict[str, object]]) -> None:
        self.now = 1000.0
        self.metrics = Metrics()
        self.dependencies = Dependencies(self.metrics, clock=lambda: self.now)
        self._lines = logged

    def logged(self, *fields: str) -> list[tuple[object, ...]]:
        """The lines since the last call: event, then `fields`."""
        lines = [tuple(line[name] for name in ("event", *fields)) for line in self._lines]
        self._lines.clear()
        return lines

    def outage(self, seconds: float) -> None:
        """Let every loop fail repeatedly."""
        begun_at = self.now
        while self.now <= begun_at + seconds:
            for where in LOOPS:
                for _ in range(128 if where == "worker" else 1):
                    self.dependencies.failed(AWAY, where)
            self.now += 0.5


@pytest.fixture
def scene() -> Iterator[Scene]:
    with capture_logs() as logged:
        yield Scene(logged)


def test_an_outage_logs_its_begin_reminders_and_its_end(scene: Scene) -> None:
    scene.outage(95)
    scene.dependencies.succeeded(REDIS)
    scene.dependencies.succeeded(REDIS, "worker")
    assert scene.logged() == [("dependency.failing",)] * 4 + [("dependency.recovered",)]


def test_the_lines_contain_what_an_operator_needs(scene: Scene) -> None:
    scene.dependencies.failed(AWAY, "leader")
    scene.now += REMIND_AFTER_S
    scene.dependencies.failed(RedisUnavailableError("slow"), "sync")
    assert scene.logged("dependency", "where", "error", "for_s", "failed_calls", "log_level") == [
        ("dependency.failing", "redis", ["leader"], "Connection refused", 0.0, 1, "warning"),
        ("dependency.failing", "redis", ["leader", "sync"], "slow", 30.0, 1, "warning"),
    ]
    scene.now += 2
    scene.dependencies.succeeded(REDIS, "vitals")
    assert scene.logged("dependency", "after_s", "log_level") == [("dependency.recovered", "redis", 32.0, "info")]


def test_the_next_trouble_has_its_own_duration(scene: Scene) -> None:
    scene.outage(10)
    scene.dependencies.succeeded(REDIS)
    scene.logged()
    scene.now += 100
    scene.outage(10)
    scene.dependencies.succeeded(REDIS)
    assert scene.logged("dependency") == [("dependency.failing", "redis"), ("dependency.recovered", "redis")]
    scene.now += 3
    began_at = scene.now
    scene.outage(2)
    assert scene.dependencies.troubles["redis"].since == began_at
    assert scene.logged("for_s") == [("dependency.failing", 1.0)], "soon after the last: logged after a second"


def test_the_reason_is_a_cause_and_stays_the_same(scene: Scene) -> None:
    """While `monitors` is locked, some loops find the lock, and others only that no answer comes."""
    locked, silent = StatementCanceledError(f"db: {READ_TIMED_OUT}"), StoreUnavailableError("no answer within 5 s")
    reasons = []
    for error, loop in (
        (silent, "vitals"),
        (locked, "sync"),
        (silent, "vitals"),
        (locked, "worker"),
        (silent, "hints"),
    ):
        scene.dependencies.failed(error, loop)
        reasons.append(scene.dependencies.troubles["database"].reason)
    assert reasons == ["no answer within 5 s"] + [f"db: {READ_TIMED_OUT}"] * 4
    scene.dependencies.succeeded(DATABASE)
    scene.dependencies.failed(StoreUnavailableError(), "vitals")
    assert scene.dependencies.troubles["database"].reason == "no answer"


def test_dependencies_fail_independently(scene: Scene) -> None:
    scene.dependencies.failed(AWAY, "leader")
    scene.dependencies.failed(StoreUnavailableError("away"), "worker")
    scene.dependencies.succeeded(REDIS)
    assert scene.dependencies.troubles == {"database": Trouble(scene.now, "away", ("worker",))}
    assert scene.logged("dependency") == [
        ("dependency.failing", "redis"),
        ("dependency.failing", "database"),
        ("dependency.recovered", "redis"),
    ]


def test_without_an_answer_any_successful_call_ends_the_trouble(scene: Scene) -> None:
    scene.outage(3)
    scene.dependencies.succeeded(REDIS)
    assert scene.dependencies.troubles == {}


@pytest.mark.parametrize(
    "error",
    [
        RedisRefusedError("NOPERM no permissions to run the 'evalsha' command", "NOPERM"),
        RedisRefusedError("MISCONF Redis is configured to save RDB snapshots"),
        StoreRefusedError("no such table: maintenances"),
    ],
)
def test_a_refusal_lasts_until_its_own_place_succeeds(scene: Scene, error: DependencyError) -> None:
    dependency = error.dependency
    for _ in range(600):  # a minute, in which everything else works
        scene.dependencies.failed(error, "reclaimer")
        scene.now += 0.1
        scene.dependencies.succeeded(dependency, "worker")
        scene.dependencies.succeeded(dependency)
        assert dependency in scene.dependencies.troubles
    assert scene.logged("where") == [("dependency.failing", ["reclaimer"])] * 2, "the second is a reminder"
    scene.dependencies.succeeded(dependency, "reclaimer")
    assert scene.dependencies.troubles == {}
    assert scene.logged() == [("dependency.recovered",)]


def test_one_place_without_answers_does_not_flap(scene: Scene) -> None:
    """A sync whose statement always times out, while workers can read."""
    for round_ in range(60):
        scene.dependencies.failed(StoreUnavailableError("timeout"), "sync")
        scene.now += 1
        scene.dependencies.succeeded(DATABASE, "worker")
        assert bool(scene.dependencies.troubles) == (round_ > 0)
    assert len(scene.logged()) <= 6
    scene.dependencies.succeeded(DATABASE, "sync")
    assert scene.logged() == [("dependency.recovered",)]


def test_single_calls_that_fail_now_and_then_do_not_fill_the_log(scene: Scene) -> None:
    for _ in range(300):
        scene.dependencies.failed(RedisUnavailableError(), "worker")
        scene.now += 0.1
        scene.dependencies.succeeded(REDIS, "worker")
        scene.now += 0.9
    lines = scene.logged()
    assert 2 <= len(lines) <= 20, "a pair each half minute, in five minutes"


def test_a_refusal_during_an_outage_is_logged_at_once(scene: Scene) -> None:
    scene.outage(3)
    scene.logged()
    scene.dependencies.failed(RedisRefusedError("NOPERM", "NOPERM"), "reclaimer")
    scene.dependencies.failed(RedisRefusedError("NOPERM", "NOPERM"), "reclaimer")
    assert scene.logged("error") == [("dependency.failing", "NOPERM")]


def test_a_refusal_of_an_idle_place_ends_after_a_while(scene: Scene) -> None:
    """A hand-off that a replica refused; then a failover, and nothing is due for an hour."""
    scene.dependencies.failed(RedisRefusedError("READONLY"), "worker")
    scene.now += 29
    scene.dependencies.succeeded(REDIS)
    assert scene.dependencies.troubles
    scene.now += 1
    scene.dependencies.succeeded(REDIS)
    assert not scene.dependencies.troubles


def test_a_place_that_has_ended_neither_fails_nor_recovers(scene: Scene) -> None:
    scene.dependencies.failed(StoreRefusedError("refused"), "sync")
    scene.logged()
    scene.dependencies.forget("sync")
    assert scene.dependencies.troubles == {}
    assert scene.logged() == []


def test_calls_are_counted_by_place(scene: Scene) -> None:
    scene.dependencies.failed(AWAY, "worker")
    scene.dependencies.failed(StoreRefusedError("refused"), "sync")
    scene.dependencies.failed(BatchError("no item of a batch works", "producer"), "sync")
    value = scene.metrics.registry.get_sample_value
    assert value("peekaping_producer_redis_errors_total", {"where": "worker"}) == 1
    assert value("peekaping_producer_store_errors_total", {"where": "sync"}) == 1


def test_a_long_error_is_cut(scene: Scene) -> None:
    scene.dependencies.failed(RedisRefusedError("DENIED " + "x" * 1_000_000), "worker")
    [(_, error)] = scene.logged("error")
    assert len(str(error)) == 301
