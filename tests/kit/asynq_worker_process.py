"""A Python worker in a process of its own: python -m tests.kit.asynq_worker_process PORT QUEUE CONCURRENCY.

It prints when each run begins and ends, in JSON lines as the Go worker does. A payload is the time that a run takes,
in ms. It ends at SIGTERM, or when stdin ends.
"""

import asyncio
import json
import signal
import sys
import time

import structlog

from peekaping_producer.metrics import Metrics
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.targets import RedisTarget
from peekaping_producer.transports.asynq.delivery import AsynqDelivery
from peekaping_producer.transports.asynq.receiver import AsynqReceiver


def write(event: str, task_id: str) -> None:
    print(json.dumps({"event": event, "id": task_id, "at": time.time_ns() // 1000}), flush=True)


async def handle(delivery: AsynqDelivery, receiver: AsynqReceiver, free: asyncio.Semaphore) -> None:
    task = asyncio.current_task()
    assert task
    delivery.cancel = task.cancel
    write("began", delivery.message.id)
    await asyncio.sleep(int(delivery.message.body) / 1000)
    write("ended", delivery.message.id)
    await receiver.acknowledge([delivery])
    free.release()


async def consume(receiver: AsynqReceiver, concurrency: int) -> None:
    """Receive as many tasks as there are free handlers."""
    free = asyncio.Semaphore(concurrency)
    async with asyncio.TaskGroup() as running:
        while True:
            await free.acquire()
            limit = 1
            while not free.locked():
                await free.acquire()
                limit += 1
            deliveries = await receiver.receive(limit)
            for _ in range(limit - len(deliveries)):
                free.release()
            for delivery in deliveries:
                running.create_task(handle(delivery, receiver, free))


structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


async def main(port: int, queue: str, concurrency: int) -> None:
    target = RedisTarget(host="127.0.0.1", port=port)
    receiver = AsynqReceiver(target, {queue: 1}, dependencies=Dependencies(Metrics()))
    await receiver.open()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(sys.stdin, stop.set)  # nothing is written to it, so it ended
    consuming = asyncio.create_task(consume(receiver, concurrency))
    await stop.wait()
    await cancel_and_wait(consuming)
    await receiver.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
