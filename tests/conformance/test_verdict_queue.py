"""The verdict about the queue and its workers, in a state that the real scripts have made and read."""

import pytest

from peekaping_producer.operations.heartbeat import (
    SLOTS,
    Rings,
)
from peekaping_producer.operations.look import Look
from tests.kit.clock import START_MS
from tests.kit.installation import STARTED, Installation


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (START_MS // 1000 - 7, "On time, but the queue has been paused since 12:37:39."),
        (1, "On time, but the queue is paused."),
        (START_MS // 1000 + 3600, "On time, but the queue is paused."),
        ("9" * 200, "On time, but the queue is paused."),
        ("", "On time, but the queue is paused."),
    ],
)
async def test_the_queue_is_paused(installation: Installation, value: int | str, sentence: str) -> None:
    """asynq writes the Unix time; since when a task waits is no time at which the queue was paused."""
    await installation.enqueue(ago_s=31)
    await installation.redis.set("asynq:{healthcheck}:paused", value)
    await installation.beat("vm-a")
    found = await installation.expect(
        "queue_paused",
        sentence,
        "1 task pending, the first for 31.0 s. Resume it: asynq queue unpause healthcheck",
    )
    assert found.since_ms == (START_MS // 1000 * 1000 - 7000 if "since" in sentence else None)


async def test_a_paused_queue_whose_key_is_not_a_string(installation: Installation) -> None:
    await installation.enqueue(ago_s=31)
    await installation.redis.lpush("asynq:{healthcheck}:paused", 1)
    await installation.beat("vm-a")
    assert (await installation.verdict()).sentence == "On time, but the queue is paused."


async def test_no_worker(installation: Installation) -> None:
    await installation.enqueue(ago_s=31)
    await installation.worker(8, 0, "ingester")
    await installation.beat("vm-a")
    found = await installation.expect(
        "no_worker",
        f"On time, but no worker runs: checks handed off since {STARTED} are not made.",
        "1 task pending, the first for 31.0 s, and no worker process is registered for the queue healthcheck. "
        "Start Peekaping's workers.",
    )
    assert found.since_ms == START_MS
    await installation.asynq.run("m0", "m1")
    assert (await installation.verdict()).since_ms == START_MS


async def test_the_workers_are_full(installation: Installation) -> None:
    await installation.enqueue(ago_s=31)
    await installation.worker(1000, 1000, "healthcheck", "critical")
    await installation.worker(24, 24, "healthcheck")
    arrivals = Rings(START_MS // 1000, handed_off_10s=(4820,) * SLOTS)
    await installation.beat("vm-a", rings=arrivals, finished_per_s=310.0)
    await installation.expect(
        "workers_full",
        "On time, but the workers are full: 482.0 checks due and 310.0 finished a second; "
        "about 569 more slots are needed.",
        "1,024 of 1,024 slots busy; 1 task pending, the first for 31.0 s.",
    )
    await installation.beat("vm-a", rings=arrivals, finished_per_s=482.5)
    found = await installation.verdict()
    assert found.sentence == "On time, but the workers are full: 482.0 checks due and 482.5 finished a second."
    assert (found.details, found.ends_ms) == (
        "1,024 of 1,024 slots busy; 1 task pending, the first for 31.0 s; at this rate none waits in 2.0 s.",
        installation.clock.now_ms + 2000,
    )
    await installation.beat("vm-a", rings=arrivals)
    assert (await installation.verdict()).sentence == "On time, but the workers are full."


@pytest.mark.parametrize("active", [0, 8])
async def test_the_workers_finish_nothing(installation: Installation, active: int) -> None:
    await installation.enqueue(ago_s=31)
    await installation.worker(8, active, "healthcheck")
    since_ms = installation.clock.now_ms - 60_000
    await installation.beat("vm-a", finished_per_s=0.0, nothing_finished_since_ms=since_ms)
    await installation.expect(
        "workers_stuck",
        "On time, but the workers have finished nothing since 12:37:17.",
        f"{active} of 8 slots busy; 1 task pending, the first for 31.0 s. The workers hang or crash: read their logs.",
    )


@pytest.mark.parametrize(("of_a_s", "of_b_s"), [(59, 59), (90, None)])
async def test_long_checks_are_not_mistaken_for_workers_that_hang(
    installation: Installation, of_a_s: int, of_b_s: int | None
) -> None:
    """Nothing was finished for less than a minute, or another replica has seen a finished task."""
    await installation.enqueue(ago_s=31)
    await installation.worker(8, 8, "healthcheck")
    for host, ago_s in (("vm-a", of_a_s), ("vm-b", of_b_s)):
        since_ms = None if ago_s is None else installation.clock.now_ms - 1000 * ago_s
        await installation.beat(host, finished_per_s=0.0 if ago_s else 0.5, nothing_finished_since_ms=since_ms)
    assert (await installation.verdict()).code == "workers_full"
    assert (await installation.verdict()).since_ms is None, "not how long its first task waits"


async def test_workers_that_do_not_register_are_workers(installation: Installation) -> None:
    """A process whose registration is gone finishes tasks; one that cannot be read may take them."""
    await installation.enqueue(ago_s=31)
    await installation.beat("vm-a", finished_per_s=5.0)
    assert (await installation.verdict()).code == "tasks_wait"
    await installation.beat("vm-a", finished_per_s=5.0, nothing_finished_since_ms=installation.clock.now_ms - 15_000)
    assert (await installation.verdict()).code == "no_worker"
    await installation.worker(8, 0, "healthcheck")
    await installation.redis.set("asynq:servers:{('healthcheck',)}", b"\xff")
    assert (await installation.verdict()).code == "tasks_wait"


async def test_the_slots_that_are_needed(installation: Installation) -> None:
    """By Little's law: 10 checks a second of 2.5 s each are 25 running checks, on average."""
    await installation.beat("vm-a", rings=Rings(START_MS // 1000, handed_off_10s=(100,) * SLOTS), mean_check_s=2.5)
    look = Look(await installation.asynq.schedule.stats(), await installation.asynq.broker.inspect())
    assert (look.slots_needed, look.slots, look.is_served) == (25, 0, False)
    await installation.beat("vm-a")
    assert Look(await installation.asynq.schedule.stats()).slots_needed is None


async def test_tasks_wait_and_the_cause_is_unknown(installation: Installation) -> None:
    await installation.enqueue(ago_s=31)
    await installation.worker(8, 2, "healthcheck")
    await installation.beat("vm-a", finished_per_s=5.0)
    found = await installation.expect(
        "tasks_wait",
        "On time, but tasks wait too long for a worker.",
        "2 of 8 slots busy; 1 task pending, the first for 31.0 s. Read the logs of the workers.",
    )
    assert found.since_ms is None, "workers dequeue, and the first task is soon another one"


async def test_a_task_may_wait_for_one_and_a_half_of_the_shortest_interval(installation: Installation) -> None:
    await installation.enqueue(ago_s=80)
    await installation.beat("vm-a", shortest_interval_s=60)
    await installation.lead()
    found = await installation.verdict()
    assert found.is_well
    assert found.sentence == "Every check is handed off on time.", "not every check is made on time"
    assert found.details.endswith("; 1 task pending, the first for 80.0 s.")
    await installation.clock.advance(11)
    assert (await installation.verdict()).code == "no_worker"


@pytest.mark.parametrize(
    ("queues", "ago_s", "sentence", "why", "is_since_known"),
    [
        (
            ["healthcheck"],
            21,
            "Checks run, but results since 12:37:25 are not stored.",
            ", and no worker process is registered for it. Start Peekaping's workers for results.",
            True,
        ),
        (
            ["ingester"],
            61,
            "Checks run, but their results are stored late.",
            ", the next for 61.0 s; too few workers take from it, or they hang. Read their logs.",
            False,
        ),
    ],
)
async def test_results_are_not_stored(
    installation: Installation, queues: list[str], ago_s: int, sentence: str, why: str, is_since_known: bool
) -> None:
    since_ms = START_MS - 1000 * ago_s
    await installation.redis.hset("asynq:{ingester}:t:r1", "pending_since", since_ms * 1_000_000)
    await installation.redis.lpush("asynq:{ingester}:pending", "r1", "r2")
    await installation.worker(8, 0, *queues)
    await installation.beat("vm-a")
    found = await installation.expect("results_not_stored", sentence, f"2 results in the queue ingester{why}")
    assert found.since_ms == (since_ms if is_since_known else None)
