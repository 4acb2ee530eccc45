"""The verdicts of `explain` about tasks and workers, in a state that the real scripts have made."""

import msgspec

from peekaping_producer.operations.explain.codes import Level, MonitorVerdict
from peekaping_producer.operations.explain.document import document_of
from peekaping_producer.operations.explain.text import lines_of
from peekaping_producer.operations.explain.verdict import verdict_of
from peekaping_producer.operations.heartbeat import Heartbeat
from peekaping_producer.operations.moments import Moments
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_peer import ACTIVE, LEASE, PENDING, task_id, task_key
from tests.kit.explained import DOCS, ID, Scene


async def stuck(scene: Scene) -> MonitorVerdict:
    verdict = await scene.verdict()
    due_ms = await scene.due_ms()
    assert verdict.ends_ms == due_ms
    at = Moments(scene.clock.now_ms).at(due_ms)
    assert verdict.remedy == f"The next hand-off replaces the task, at {at}."
    return verdict


async def handed_off(scene: Scene, interval: int = 60) -> None:
    await scene.insert(interval=interval)
    await scene.place()
    await scene.until_due()
    await scene.hand_off()


async def test_stuck_archived(scene: Scene) -> None:
    await handed_off(scene)
    await scene.asynq.take()
    await scene.asynq.peer.fail(ID, scene.asynq.now_s)
    verdict = await stuck(scene)
    assert (verdict.code, verdict.sentence) == (
        "task.stuck.archived",
        "A check is missing, because its task failed and is archived.",
    )


async def test_an_archived_task_is_shown_with_its_error(scene: Scene) -> None:
    await handed_off(scene)
    await scene.asynq.take()
    error = "dial tcp 10.0.0.1:443:\n\x1b[31mi/o timeout" + "x" * 10_000
    await scene.asynq.peer.fail(ID, scene.asynq.now_s, error)
    verdict = await stuck(scene)
    failed_ms = scene.clock.now_ms // 1000 * 1000
    at = Moments(scene.clock.now_ms).at(failed_ms)
    assert (verdict.code, verdict.level) == ("task.stuck.archived", Level.NOTE)
    reason = "dial tcp 10.0.0.1:443:\\n\\x1b[31mi/o timeoutxxx"
    assert verdict.sentence.startswith(
        f"A check is missing, because its task failed at {at} and is archived: '{reason}"
    )
    facts = await scene.facts()
    lines = lines_of(facts, verdict, Moments(facts.now_ms), "UTC")
    assert f"{'':<12} last failed at {at}, on a worker whose name asynq does not store" in lines
    (shown,) = [line for line in lines if line.startswith(f"{'':<12} error: ")]
    assert len(shown) < 350
    task = document_of(facts, verdict)["task"]
    assert (task["last_failed_at"], task["retried"], task["completed_at"]) == ("2026-11-26T03:11:00.000Z", 0, None)
    assert reason in task["error"]


async def test_tasks_that_fail_again_and_again_are_no_note(scene: Scene) -> None:
    await handed_off(scene)
    for error in ("first", "second."):
        await scene.asynq.take()
        await scene.asynq.peer.fail(ID, scene.asynq.now_s, error)
        if error == "first":
            await scene.until_due()
            await scene.hand_off()
    since = Moments(scene.clock.now_ms).at(scene.clock.now_ms)
    failed = Moments(scene.clock.now_ms).at(scene.clock.now_ms // 1000 * 1000)
    verdict = await scene.verdict()
    assert (verdict.code, verdict.cause, verdict.level) == ("task.failing", "task.stuck.archived", Level.FAIL)
    reason = f"its task failed at {failed} and is archived: second."
    assert verdict.sentence == f"Workers did not complete 2 checks in a row since {since}: {reason}"


async def test_stuck_without_a_message(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    await scene.redis.hset(task_key(ID), "state", "active")
    await scene.redis.lpush(ACTIVE, task_id(ID))
    verdict = await stuck(scene)
    assert (verdict.code, verdict.sentence) == (
        "task.stuck.orphan",
        "A check is missing, because its task is active but contains no message.",
    )


async def test_stuck_with_a_dead_worker(scene: Scene) -> None:
    await handed_off(scene)
    await scene.asynq.take()
    await scene.redis.zadd(LEASE, {task_id(ID): scene.asynq.now_s - 31})
    verdict = await stuck(scene)
    assert (verdict.code, verdict.sentence) == (
        "task.stuck.active_lost",
        "A check is missing, because the worker that had its task died, or lost it.",
    )


async def test_the_sample_in_the_docs_is_what_is_printed(scene: Scene) -> None:
    await handed_off(scene)
    for minute in (9, 10):
        time = f"2026-11-26 03:{minute:02}:00.400"
        await scene.database.insert("heartbeats", scene.database.heartbeat({"id": ID}, time=time, ping=200 + minute))
    await scene.asynq.take()
    await scene.redis.zadd(LEASE, {task_id(ID): scene.asynq.now_s - 31})
    await scene.clock.advance(19.2)
    await scene.report()
    facts = await scene.facts()
    moments = Moments(facts.now_ms)
    lines = lines_of(facts, verdict_of(facts, moments), moments, "UTC")
    assert "\n".join(lines) in DOCS


async def test_stuck_in_no_list(scene: Scene) -> None:
    await handed_off(scene)
    await scene.redis.delete(PENDING)
    verdict = await stuck(scene)
    assert (verdict.code, verdict.sentence) == (
        "task.stuck.no_list",
        "A check is missing, because its task is pending but not in the list that workers read.",
    )


async def test_stuck_with_a_key_of_another_type(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    await scene.redis.set(task_key(ID), "no task")
    verdict = await stuck(scene)
    assert (verdict.code, verdict.sentence) == (
        "task.stuck.unusable",
        "A check is missing, because the key of its task contains something that no worker runs.",
    )


async def test_waiting_for_a_worker(scene: Scene) -> None:
    await handed_off(scene)
    since_ms = scene.clock.now_ms
    await scene.clock.advance(61)
    await scene.redis.zadd(KEYS.due, {ID: scene.clock.now_ms + 1000})
    at = Moments(scene.clock.now_ms).at(since_ms)
    assert await scene.verdict() == MonitorVerdict(
        "task.waiting_long",
        f"A check is missing: its task has waited for a worker since {at}, at place 1 of the queue.",
        "No worker is registered: start Peekaping's workers.",
        "no_worker",
    )
    await scene.asynq.register(slots=4, busy=1)
    verdict = await scene.verdict()
    assert (verdict.cause, verdict.remedy) == (
        "workers_slow",
        "Too few workers run, or they hang: read their logs, or start more.",
    )
    await scene.report(heartbeat=Heartbeat(host="vm-b", finished_per_s=0.25))
    assert (await scene.verdict()).remedy.endswith(" At their present rate, one takes it in about 4.0 s.")
    facts = await scene.facts()
    assert "at place 1 of the queue; a worker takes it in about 4.0 s" in "\n".join(
        lines_of(facts, verdict, Moments(facts.now_ms), "UTC")
    )
    assert document_of(facts, verdict)["task"]["estimated_wait_s"] == 4.0


async def test_a_check_that_waits_in_a_full_queue_is_late_before_its_next_tick(scene: Scene) -> None:
    await handed_off(scene)
    since_ms = scene.clock.now_ms
    await scene.asynq.register(slots=1, busy=1)
    await scene.clock.advance(20)
    at = Moments(scene.clock.now_ms).at(since_ms)
    waits = f"its task has waited for a worker since {at}, at place 1 of the queue."
    verdict = await scene.verdict()
    assert (verdict.code, verdict.level) == ("ok", Level.OK)
    assert verdict.sentence.startswith(f"Its checks are handed off on time; {waits} It is due at ")
    await scene.clock.advance(20)
    await scene.report(heartbeat=Heartbeat(host="vm-b", finished_per_s=0.25))
    at = Moments(scene.clock.now_ms).at(since_ms)
    verdict = await scene.verdict()
    assert verdict == MonitorVerdict(
        "task.late",
        f"Its check is late: its task has waited for a worker since {at}, at place 1 of the queue.",
        "All slots of the workers are busy (1 of 1): start more workers, or raise intervals. "
        "At their present rate, one takes it in about 4.0 s.",
        "workers_full",
    )
    assert verdict.level is Level.NOTE
    await scene.report(heartbeat=Heartbeat(host="vm-b", finished_per_s=0.04))
    verdict = await scene.verdict()
    assert (verdict.code, verdict.cause) == ("task.waiting_long", "workers_full")
    assert verdict.sentence.startswith("Its next check will be missing, since this one runs later than that: its task ")
    facts = await scene.facts()
    assert facts.state
    without_task = msgspec.structs.replace(facts, state=msgspec.structs.replace(facts.state, task=None))
    verdict = verdict_of(without_task, Moments(facts.now_ms))
    assert (verdict.code, verdict.cause) == ("task.late", "workers_full")
    assert verdict.sentence.startswith(
        "Its checks are handed off on time, and will wait for a worker. The fleet: On time"
    )


async def test_a_task_that_no_worker_dequeues_is_missing_before_its_next_tick(scene: Scene) -> None:
    await handed_off(scene)
    await scene.redis.set("asynq:{healthcheck}:paused", "1")
    verdict = await scene.verdict()
    assert (verdict.code, verdict.cause, verdict.level) == ("task.waiting_long", "queue_paused", Level.FAIL)
    assert verdict.remedy == "The queue is paused: run `asynq queue unpause healthcheck`."
    paused_s = scene.clock.now_ms // 1000 - 5
    await scene.redis.set("asynq:{healthcheck}:paused", paused_s)
    at = Moments(scene.clock.now_ms).at(1000 * paused_s)
    remedy = f"The queue has been paused since {at}: run `asynq queue unpause healthcheck`."
    assert (await scene.verdict()).remedy == remedy
    await scene.redis.delete("asynq:{healthcheck}:paused")
    await scene.clock.advance(21)
    assert (await scene.verdict()).cause == "no_worker"
    await scene.asynq.register(slots=1, busy=1)
    finished_ms = scene.clock.now_ms - 60_000
    heartbeat = Heartbeat(host="vm-b", finished_per_s=0.0, nothing_finished_since_ms=finished_ms)
    await scene.report(heartbeat=heartbeat)
    verdict = await scene.verdict()
    assert (verdict.code, verdict.cause) == ("task.waiting_long", "workers_stuck")
    at = Moments(scene.clock.now_ms).at(finished_ms)
    assert verdict.remedy == f"The workers have finished nothing since {at}: read their logs."


async def test_running(scene: Scene) -> None:
    await handed_off(scene)
    await scene.asynq.take()
    assert await scene.verdict() == MonitorVerdict("task.running", "A worker runs its check.")


async def test_running_for_longer_than_its_interval(scene: Scene) -> None:
    await handed_off(scene)
    await scene.asynq.take()
    await scene.until_due()
    await scene.asynq.peer.extend(ID, scene.asynq.now_s)
    await scene.hand_off()
    verdict = await scene.verdict()
    assert (verdict.code, verdict.sentence) == (
        "task.overlap",
        "A worker has been running its check; 1 tick without a completed check.",
    )
