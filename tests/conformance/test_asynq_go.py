"""hibiken/asynq itself beside our asynq transport: its Inspector, its client, its workers, one queue."""

import asyncio
import itertools
import os
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.handlers import HandlerWork
from peekaping_producer.messages.metrics import ConsumerMetrics
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.asynq.delivery import AsynqDelivery
from peekaping_producer.transports.asynq.priorities import Priorities
from peekaping_producer.transports.asynq.publisher import AsynqPublisher
from peekaping_producer.transports.asynq.receiver import AsynqReceiver
from peekaping_producer.transports.asynq.scripts import Scripts
from peekaping_producer.transports.asynq.session import Session
from peekaping_producer.transports.message import Message
from tests.kit import go
from tests.kit.asynq_tool import Run, Tool, WorkerProcess
from tests.kit.asynq_worker import KEYS, QUEUE, QueueView
from tests.kit.redis import target_of
from tests.kit.waiting import until


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go.build("./tool", tmp_path_factory)


@pytest.fixture
def tool(binary: Path, private_redis: RedisServer) -> Tool:
    return Tool(binary, private_redis.port)


@pytest_asyncio.fixture
async def receiver(private_redis: RedisServer) -> AsyncIterator[AsynqReceiver]:
    queues = {QUEUE: 3, "other": 1}
    receiver = AsynqReceiver(target_of(private_redis), queues, dependencies=Dependencies(Metrics()), strict=True)
    await receiver.open()
    yield receiver
    await receiver.close()


def order(task_id: str, **options: Any) -> dict[str, Any]:
    return {"id": task_id, "type": "t", "queue": QUEUE, "payload": f"payload of {task_id}", "timeout": 90, **options}


async def one_in_each_state(tool: Tool, receiver: AsynqReceiver) -> AsynqDelivery:
    """Enqueue tasks, and end their runs in every way; return the one that still runs."""
    await tool.enqueue(
        order("done", unique=600),
        order("kept", retention=600),
        order("failing", max_retry=3),
        order("dead"),
        order("released"),
        order("running"),
        order("next"),
        order("later", process_in=3600),
        order("grouped", group="g"),
    )
    done, kept, failing, dead, released, running = await receiver.receive(6)
    assert (done.task.type, done.message.body, done.timeout_s) == ("t", b"payload of done", 90)
    kept.result = b"result"
    await receiver.acknowledge([done, kept])
    await receiver.retry(failing, 100, "no answer")
    await receiver.dead_letter(dead, "of no use")
    await receiver.release([released])
    return running


async def test_the_inspector_agrees_on_every_state(tool: Tool, receiver: AsynqReceiver, server: Redis) -> None:
    await one_in_each_state(tool, receiver)
    seen = await tool.inspect(QUEUE)
    assert {task_id: task["state"] for task_id, task in seen["tasks"].items()} == {
        "kept": "completed",
        "failing": "retry",
        "dead": "archived",
        "released": "pending",
        "running": "active",
        "next": "pending",
        "later": "scheduled",
    }
    assert {name: number for name, number in seen["counts"].items() if number} == {
        **dict.fromkeys(("completed", "retry", "archived", "active", "scheduled", "aggregating"), 1),
        "pending": 2,
        "processed": 4,
        "failed": 2,
        "processed today": 4,
        "failed today": 2,
    }
    assert not seen["tasks"]["running"]["orphaned"]
    assert not [key async for key in server.scan_iter("*unique*")]


async def test_the_inspector_shows_how_runs_ended(tool: Tool, receiver: AsynqReceiver, server: Redis) -> None:
    await one_in_each_state(tool, receiver)
    now_s = (await server.time())[0]
    tasks = (await tool.inspect(QUEUE))["tasks"]
    kept, failing, dead = tasks["kept"], tasks["failing"], tasks["dead"]
    assert (kept["result"], kept["retention"]) == ("result", 600)
    assert abs(kept["completed_at"] - now_s) <= 30
    assert (failing["last_err"], failing["retried"], failing["max_retry"]) == ("no answer", 1, 3)
    assert abs(failing["next_process_at"] - now_s - 100) <= 30
    assert (dead["last_err"], dead["payload"]) == ("of no use", "payload of dead")
    assert abs(dead["last_failed_at"] - now_s) <= 30


async def test_the_inspector_lists_the_receiver_until_it_closes(tool: Tool, receiver: AsynqReceiver) -> None:
    running = await one_in_each_state(tool, receiver)
    session = await receiver._opened()
    await session.registration.run_once()
    (process,) = (await tool.inspect(QUEUE))["servers"]
    assert process.pop("started_s") < 60
    assert process.pop("workers") == [
        {"task_id": "running", "task_type": "t", "payload": "payload of running", "queue": QUEUE, "left_s": 90}
    ]
    queues = {QUEUE: 3, "other": 1}
    assert process == {"pid": os.getpid(), "concurrency": 6, "queues": queues, "strict": True, "status": "active"}
    await receiver.acknowledge([running])
    await receiver.close()
    assert (await tool.inspect(QUEUE))["servers"] == []


async def test_the_inspector_shows_what_handlers_return(tool: Tool, receiver: AsynqReceiver) -> None:
    returned = {
        "bytes": b"\x00raw",
        "text": "caf\u00e9",
        "json": {"rows": [1, 2]},
        "none": None,
        "unstorable": object(),
    }
    await tool.enqueue(*(order(task_id, retention=600) for task_id in returned), order("unstorable, not kept"))

    async def handle(message: Message) -> object:
        return returned[message.id.partition(",")[0]]

    metrics = ConsumerMetrics()
    consumer = Consumer(receiver, HandlerWork(handle), Dependencies(Metrics()), metrics=metrics)
    running = asyncio.create_task(consumer.run())
    await until(lambda: metrics.consumed._value.get() == 5 and consumer.held == 0)
    tasks = (await tool.inspect(QUEUE))["tasks"]
    await consumer.drain(1)
    await running
    assert {task_id: (task["state"], task["result"]) for task_id, task in tasks.items()} == {
        "bytes": ("completed", "\x00raw"),
        "text": ("completed", "café"),
        "json": ("completed", '{"rows":[1,2]}'),
        "none": ("completed", ""),
        "unstorable": ("archived", ""),
    }
    assert tasks["unstorable"]["last_err"].startswith(
        "RejectedMessageError: result: expected bytes, text or a value that can be JSON, got object ("
    )


async def test_the_inspector_cancels_a_run(tool: Tool, receiver: AsynqReceiver) -> None:
    await tool.enqueue(order("a", max_retry=1), order("b"))
    canceled: list[str] = []
    for delivery in await receiver.receive(2):
        delivery.cancel = lambda task_id=delivery.message.id: canceled.append(task_id)
    subscription = (await receiver._opened()).cancellation.loop
    await until(lambda: subscription.stalled_s > 0)
    for task_id in ("a", "b"):

        async def is_canceled(task_id: str = task_id) -> bool:
            await tool.run("cancel", task_id)
            return task_id in canceled

        await until(is_canceled)
    tasks = (await tool.inspect(QUEUE))["tasks"]
    assert {task_id: (task["state"], task["last_err"]) for task_id, task in tasks.items()} == {
        "a": ("retry", "context canceled"),
        "b": ("archived", "context canceled"),
    }


async def test_what_python_publishes_retries_and_releases_go_runs(
    tool: Tool, receiver: AsynqReceiver, private_redis: RedisServer, server: Redis
) -> None:
    publisher = AsynqPublisher(target_of(private_redis), queue=QUEUE, task_type="t")
    await publisher.publish([Message(task_id, b"1") for task_id in ("retried", "released", "untouched")])
    await publisher.close()
    retried, released = await receiver.receive(2)
    await receiver.retry(retried, 0, "later")
    await receiver.release([released])
    await receiver.close()
    worker = await tool.go_worker(QUEUE, 1)
    await until(lambda: len([run for _, run in worker.runs if run.ended]) == 3)
    assert await worker.stop() == 0
    assert next(task_id for task_id, _ in worker.runs) == "released"
    assert {task_id for task_id, _ in worker.runs} == {"retried", "released", "untouched"}
    assert await QueueView(server).states() == {}


async def test_a_worker_that_was_stopped_does_not_end_the_run_of_the_go_worker_that_took_over(
    tool: Tool, private_redis: RedisServer, server: Redis
) -> None:
    publisher = AsynqPublisher(target_of(private_redis), queue=QUEUE, task_type="t")
    await publisher.publish([Message("a", b"4000")])
    await publisher.close()
    python = await tool.python_worker(QUEUE, 1)
    await python.until_running(1)
    python.process.send_signal(signal.SIGSTOP)
    stopped_at = time.monotonic()
    await server.zincrby(KEYS.lease, -61, "a")
    await maintenance(server).recoverer.run_once()
    assert await QueueView(server).states() == {"retry": ["a"]}
    await until(lambda: time.monotonic() > stopped_at + 4)  # its handler is over once it goes on
    await let_time_pass(server)
    go_worker = await tool.go_worker(QUEUE, 1)
    await go_worker.until_running(1)
    python.process.send_signal(signal.SIGCONT)
    await until(lambda: ended(python) == 1)
    assert ended(go_worker) == 0
    assert await python.stop() == 0
    assert await QueueView(server).states() == {"active": ["a"], "lease": ["a"]}
    await until(lambda: ended(go_worker) == 1)
    assert await go_worker.stop() == 0
    assert await server.mget(KEYS.prefix + "processed", KEYS.prefix + "failed") == [b"2", b"1"]


TASKS = 2400
DEAD_BELOW_S = 20
"""A lease that has so little time left was not extended for 10 s, which a living worker does every 5 s."""


async def test_go_and_python_workers_share_a_queue_under_load_and_kills(
    tool: Tool, private_redis: RedisServer, server: Redis
) -> None:
    """Each task is finished, and no two runs of it overlap. Each of four processes is killed once, and replaced."""
    publisher = AsynqPublisher(target_of(private_redis), queue=QUEUE, task_type="t", retries=10)
    await publisher.publish([Message(f"task {n}", b"%d" % (2 + n % 20)) for n in range(TASKS)])
    await publisher.close()
    starts = [tool.go_worker, tool.python_worker, tool.go_worker, tool.python_worker]
    workers = [await start(QUEUE, 4) for start in starts]
    for worker in workers:
        await worker.until_running(1)
    dead: list[WorkerProcess] = []
    for n, start in enumerate(starts):
        done = TASKS * (n + 1) // 6
        await until(lambda done=done: ended(*workers, *dead) >= done)
        await workers[n].kill()
        dead.append(workers[n])
        workers[n] = await start(QUEUE, 4)
        assert workers[n].process.pid != dead[-1].process.pid

    recoverer = maintenance(server).recoverer

    async def is_empty() -> bool:
        await let_time_pass(server)
        await recoverer.run_once()
        return await QueueView(server).states() == {}

    await until(is_empty)
    assert [await worker.stop() for worker in workers] == [0] * 4
    runs: dict[str, list[Run]] = defaultdict(list)
    for worker in (*workers, *dead):
        for task_id, run in worker.runs:
            runs[task_id].append(run)
    assert len(runs) == TASKS
    assert all(any(run.ended for run in of_task) for of_task in runs.values())
    assert overlaps(runs) == []
    assert any(run.killed for of_task in runs.values() for run in of_task)
    processed, failed = await server.mget(KEYS.prefix + "processed", KEYS.prefix + "failed")
    assert int(processed) - int(failed) == TASKS


def maintenance(server: Redis) -> Session:
    return Session(Scripts(server), Priorities({QUEUE: 1}), Dependencies(Metrics()), time.monotonic)


def ended(*workers: WorkerProcess) -> int:
    return sum(run.ended is not None for worker in workers for _, run in worker.runs)


def overlaps(runs: dict[str, list[Run]]) -> list[str]:
    """Ids of tasks of which two runs were under way at the same time."""
    return [
        task_id
        for task_id, of_task in runs.items()
        for first, second in itertools.pairwise(sorted(of_task, key=lambda run: run.began))
        if second.began < (first.ended or first.killed or 2**63)
    ]


async def let_time_pass(server: Redis) -> None:
    """End the leases of dead workers 60 s earlier, and the delays of retries at once."""
    now_s = (await server.time())[0]
    leases: Any = await server.zrange(KEYS.lease, 0, -1, withscores=True)
    if dead := {task_id: score - 61 for task_id, score in leases if score - now_s < DEAD_BELOW_S}:
        await server.zadd(KEYS.lease, dead, xx=True)
    if delayed := await server.zrange(KEYS.retry, 0, -1):
        await server.zadd(KEYS.retry, dict.fromkeys(delayed, now_s), xx=True)


def test_overlapping_runs_are_found() -> None:
    runs = {
        "apart": [Run(20, 30), Run(1, 20)],
        "overlapping": [Run(10, 30), Run(1, 11)],
        "during a run that was killed": [Run(1, None, 9), Run(8, 9)],
    }
    assert overlaps(runs) == ["overlapping", "during a run that was killed"]
