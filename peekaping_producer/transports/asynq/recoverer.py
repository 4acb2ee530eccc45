"""Ends the runs of workers that died: their tasks are retried or archived, as after any other failure."""

import structlog

from peekaping_producer.errors import BrokerRefusedError
from peekaping_producer.transports.asynq.keys import QueueKeys
from peekaping_producer.transports.asynq.periodic import Periodic
from peekaping_producer.transports.asynq.scripts import tasks_of
from peekaping_producer.transports.asynq.settling import retry_delay_s, write_failure
from peekaping_producer.transports.asynq.task_message import decode_task

LEASE_EXPIRED = "asynq: task lease expired"
"""asynq's words, which its tools show."""
_BATCH = 100
_NO_TOKEN = 0.0

log = structlog.stdlib.get_logger()


class Recoverer(Periodic):
    """As asynq's recoverer; it also ends active tasks without a lease (asynq#1051, #1144). Several may run at once."""

    name = "asynq.recoverer"
    every_s = 60.0

    async def run_once(self) -> None:
        """Recover all, 100 in a call. The error of a task that cannot be moved is raised after the others."""
        for keys in self._queues:
            await self._recover(keys)

    async def _recover(self, keys: QueueKeys) -> None:
        recovered = dropped = skip = 0
        error: BrokerRefusedError | None = None
        while True:
            now, found, without_task = await self._scripts.run(
                "find_expired", (keys.active, keys.lease), (keys.prefix, skip, _BATCH), tasks_of
            )
            dropped += without_task
            for task_id, raw in found:
                try:
                    recovered += await self._end(keys, task_id, raw, int(now))
                except BrokerRefusedError as refused:
                    error = refused
                    skip += 1
                self.loop.progressed()
            if not found:
                break
        if recovered or dropped:
            log.warning(
                "task.recovered",
                message="Workers died: their tasks are retried or archived.",
                queue=keys.queue,
                tasks=recovered,
                ids_without_task=dropped,
            )
        if error:
            raise error

    async def _end(self, keys: QueueKeys, task_id: str, raw: bytes, now_s: int) -> bool:
        task, problem = decode_task(raw, task_id, keys.queue)
        reason, delay_s = problem or LEASE_EXPIRED, retry_delay_s(task)
        return await write_failure(self._scripts, keys, task, _NO_TOKEN, reason=reason, now_s=now_s, delay_s=delay_s)
