"""The messages that a relay holds, in order, and the futures of the batches that they came in."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice

import msgspec

from peekaping_producer.transports.message import Message, id_problem

Refused = Mapping[int, str]
"""By index in its batch, why a message can never be published."""


class Admission(msgspec.Struct, frozen=True):
    """What the buffer would accept of a batch."""

    messages: Sequence[Message]
    bytes: int
    problems: dict[int, str]
    """By index in the batch, why a message can never be published; such messages are not accepted."""
    indices: Sequence[int]
    """Of the accepted messages in the batch."""


class _Batch:
    def __init__(self, admission: Admission, added_at: float) -> None:
        self.future: asyncio.Future[Refused] = asyncio.get_running_loop().create_future()
        self.refused = admission.problems
        self.count = len(admission.messages)
        self.settled = 0
        self.added_at = added_at
        self._indices = admission.indices

    def refuse(self, position: int, reason: str) -> None:
        """The message at this position among the buffered ones can never be published."""
        self.refused[self._indices[position]] = reason

    def end(self) -> None:
        """All messages are settled. The future is done already if its owner was canceled."""
        if not self.future.done():
            self.future.set_result(self.refused)


class Buffer:
    """A queue of messages, counted by number and by bytes of the bodies."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: a larger body is not accepted."""
        self._max_bytes = max_bytes
        self._messages: deque[Message] = deque()
        self._batches: deque[_Batch] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    def admit(self, messages: Sequence[Message]) -> Admission:
        """Check ids and sizes."""
        sizes = [len(message.body) for message in messages]
        problems = {}
        for index, (message, size) in enumerate(zip(messages, sizes, strict=True)):
            if size > self._max_bytes:
                problems[index] = f"body: expected at most {self._max_bytes} bytes, the buffer of the relay, got {size}"
            elif problem := id_problem(message.id):
                problems[index] = problem
        indices: Sequence[int] = range(len(messages))
        if problems:
            indices = [index for index in indices if index not in problems]
            return Admission([messages[i] for i in indices], sum(sizes[i] for i in indices), problems, indices)
        return Admission(messages, sum(sizes), problems, indices)

    def add(self, admission: Admission, now: float) -> "asyncio.Future[Refused]":
        """Append what was accepted; return a future that ends once all of it is settled."""
        batch = _Batch(admission, now)
        if admission.messages:
            self._messages.extend(admission.messages)
            self._batches.append(batch)
            self.bytes += admission.bytes
        else:
            batch.end()
        return batch.future

    @property
    def oldest_at(self) -> float | None:
        """When the first message was added; None if the buffer is empty."""
        return self._batches[0].added_at if self._batches else None

    def head(self, max_messages: int, max_bytes: int) -> list[Message]:
        """Return the first messages within both limits, at least one; they stay in the buffer."""
        messages = list(islice(self._messages, max_messages))
        if self.bytes <= max_bytes:
            return messages
        size = 0
        for index, message in enumerate(messages):
            size += len(message.body)
            if size > max_bytes:
                return messages[: max(index, 1)]
        return messages

    def settle(self, count: int, refused: Mapping[int, str]) -> None:
        """Remove the first `count` messages; `refused` are those of them, by index, that can never be published."""
        popped = [self._messages.popleft() for _ in range(count)]
        self.bytes -= sum([len(message.body) for message in popped])
        begin = 0
        while begin < count:
            batch = self._batches[0]
            taken = min(batch.count - batch.settled, count - begin)
            for index, reason in refused.items():
                if begin <= index < begin + taken:
                    batch.refuse(batch.settled + index - begin, reason)
            batch.settled += taken
            begin += taken
            if batch.settled == batch.count:
                self._batches.popleft()
                batch.end()

    def fail(self, error: Exception) -> None:
        """End all futures with `error`; the messages stay."""
        for batch in self._batches:
            if not batch.future.done():
                batch.future.set_exception(error)
                batch.future.exception()  # marked as retrieved: a source that has ended does not read it
