"""Publishes messages as tasks of an asynq queue."""

import math
from collections.abc import Iterator, Sequence

from peekaping_producer.errors import BrokerError, BrokerRefusedError, BrokerUnavailableError, ItemError
from peekaping_producer.redis_client.script import CLOCK
from peekaping_producer.targets import RedisTarget
from peekaping_producer.transports.asynq.calls import LARGE_BYTES, calls_of
from peekaping_producer.transports.asynq.keys import QUEUES, QueueKeys
from peekaping_producer.transports.asynq.scripts import Scripts, connect
from peekaping_producer.transports.asynq.task_message import DEFAULT_TIMEOUT_S, TaskMessage, TaskTemplate
from peekaping_producer.transports.message import Message, id_problem
from peekaping_producer.transports.publisher import PublishResult

_CONNECTIONS = 2

Encoded = tuple[int, str, bytes]
"""The index of a message, the id of its task and its TaskMessage."""


class AsynqPublisher:
    """A Publisher: the id of a message is that of its task, the body its payload. There is no content type.

    A message whose id exists in the queue, in any state, is confirmed without a second task; `duplicates` counts them.
    """

    def __init__(
        self,
        target: RedisTarget,
        *,
        queue: str = "default",
        task_type: str,
        retries: int = 25,
        timeout_s: int = DEFAULT_TIMEOUT_S,
        retention_s: int = 0,
        clock: str = CLOCK,
    ) -> None:
        """`retention_s`: how long a completed task is kept. `clock`: see redis_client.script."""
        self.duplicates = 0
        self._target = target
        self._keys = QueueKeys(queue)
        self._template = TaskTemplate(
            TaskMessage(type=task_type, queue=queue, retry=retries, timeout=timeout_s, retention=retention_s)
        )
        self._clock = clock
        self._scripts: Scripts | None = None

    async def open(self) -> None:
        """See Publisher."""
        if self._scripts:
            await self._scripts.ping()
        else:
            await self._connected()

    async def close(self) -> None:
        """See Publisher."""
        scripts, self._scripts = self._scripts, None
        if scripts:
            await scripts.close()

    async def publish(self, messages: Sequence[Message]) -> PublishResult:
        """See Publisher. A call to Redis has up to 1,000 messages; all of them are enqueued, or none."""
        refused: dict[int, str] = {}
        scripts = await self._connected()
        for tasks in calls_of(self._encoded(messages, refused), lambda task: len(task[2])):
            settled = tasks[0][0]
            try:
                if reason := await self._enqueue(scripts, tasks):
                    refused[settled] = reason
            except BrokerError:
                if settled == 0:
                    raise
                return PublishResult(settled, {n: why for n, why in refused.items() if n < settled})
        return PublishResult(len(messages), refused)

    async def _connected(self) -> Scripts:
        if self._scripts is None:
            self._scripts = await connect(self._target, connections=_CONNECTIONS, clock=self._clock)
        return self._scripts

    def _encoded(self, messages: Sequence[Message], refused: dict[int, str]) -> Iterator[Encoded]:
        """Encode those with a usable id; add the others to `refused`."""
        for n, message in enumerate(messages):
            if problem := id_problem(message.id):
                refused[n] = problem
            else:
                yield n, message.id, self._template.encode(message.id, message.body)

    async def _enqueue(self, scripts: Scripts, tasks: list[Encoded]) -> str:
        """Run the script; return why a large message is refused, or "". Raises BrokerError."""
        size = len(tasks[0][2])
        if size < LARGE_BYTES:
            await self._call(scripts, tasks)
            return ""
        for _ in range(2):
            try:
                await self._call(scripts, tasks)
            except BrokerRefusedError as error:
                if not isinstance(error.__cause__, ItemError):
                    raise
                break
            except BrokerUnavailableError:
                await scripts.ping()  # if it answers, the size may be the reason: it closes the connection then
            else:
                return ""
        return f"{math.ceil(size / 1000)} kB is more than Redis or a proxy accepts; raise proto-max-bulk-len"

    async def _call(self, scripts: Scripts, tasks: list[Encoded]) -> None:
        args: list[str | bytes] = [self._keys.queue, self._keys.prefix]
        for _, task_id, data in tasks:
            args += (task_id, data)
        self.duplicates += await scripts.run("enqueue", (QUEUES, self._keys.pending), args, int)
