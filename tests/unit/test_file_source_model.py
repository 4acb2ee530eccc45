"""A model of a file that is written, rotated, truncated and deleted while a source follows it, starts and is killed.

The file system is real; the publisher fails at random. Nothing is missing but what no program could have read, lines
first appear in the order in which they were written, and those that appear twice were in flight at a failure.
"""

import asyncio
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from prometheus_client import CollectorRegistry

from peekaping_producer.errors import CheckpointError
from peekaping_producer.messages.dead_letters import read_records
from peekaping_producer.messages.metrics import RelayMetrics
from peekaping_producer.messages.relay import Relay
from peekaping_producer.messages.sources import watcher
from peekaping_producer.messages.sources.checkpoint import Checkpoint, CheckpointFile
from peekaping_producer.messages.sources.file import FileSource
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.service.dependencies import Dependencies
from tests.kit.publishers import UnreliablePublisher
from tests.kit.waiting import until

MAX_LINE_BYTES = 40
_store = CheckpointFile.store


class Writer:
    """Writes unique lines to a file, rotates it, and records which lines a reader may have missed."""

    def __init__(self, path: Path, *, by_date: bool) -> None:
        self.path = path
        self.lines: list[bytes] = []
        """In the order in which they were written."""
        self.partial = b""
        self.unread: dict[Path, set[bytes]] = {path: set()}
        """By file: the lines that no reader may have read yet."""
        self.may_be_lost: set[bytes] = set()
        self.cut_off: set[bytes] = set()
        """What a reader may have read of a line before it was truncated."""
        self.has_destroyed = False
        """Whether it has deleted a file, or lines that are in no copy."""
        self._by_date = by_date
        self._number = 0
        self._rotations = 0

    def token(self, size: int) -> bytes:
        self._number += 1
        return f"{self._number:06}".encode().ljust(size, b".")

    def append(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)
        self.unread.setdefault(self.path, set())

    def write(self, sizes: list[int]) -> None:
        lines = [self.token(size) for size in sizes]
        if self.partial:
            lines[0] = self.partial + lines[0][:0] + b"+" * sizes[0]
        self.append(b"".join(line + b"\n" for line in lines)[len(self.partial) :])
        self.partial = b""
        self._complete(*lines)

    def write_partial(self, size: int) -> None:
        data = b"+" * size if self.partial else self.token(size)
        self.append(data)
        self.partial += data

    def _complete(self, *lines: bytes) -> None:
        self.lines += lines
        self.unread[self.path].update(lines)

    def end_partial(self) -> None:
        """The file gets no more lines: a line without its newline is one too."""
        if self.partial:
            self._complete(self.partial)
            self.partial = b""

    def rotate(self, *, create: bool, late: bool = False) -> None:
        """`late`: the old file gets one more line before the new one gets its first."""
        if not self.path.exists():
            return
        late = late and not self.partial
        self.end_partial()
        rotated = self._free_name()
        self.path.rename(rotated)
        self.unread[rotated] = self.unread.pop(self.path)
        if create:
            self.append(b"")
        if late:
            line = self.token(10)
            with rotated.open("ab") as file:
                file.write(line + b"\n")
            self.lines.append(line)
            self.unread[rotated].add(line)

    def copy_and_truncate(self, *, written_between: bool) -> None:
        if not self.path.exists():
            return
        if not written_between:
            self.end_partial()
        copy = self._free_name()
        shutil.copyfile(self.path, copy)
        self.unread[copy] = set(self.unread[self.path])
        if written_between:
            self.unread[self.path].clear()
            self.write([10])
            self.may_be_lost |= self.unread[self.path]
            self.has_destroyed = True
        self.unread[self.path].clear()
        os.truncate(self.path, 0)

    def truncate(self) -> None:
        if self.path.exists():
            self.has_destroyed = True
            self.cut_off |= {self.partial[:size] for size in range(1, len(self.partial))}
            self.end_partial()
            self.may_be_lost |= self.unread[self.path]
            self.unread[self.path].clear()
            os.truncate(self.path, 0)

    def delete(self, which: int) -> None:
        path = list(self.unread)[which % len(self.unread)]
        if path == self.path and path.exists():
            self.end_partial()
        self.has_destroyed = True
        self.may_be_lost |= self.unread.pop(path)
        path.unlink(missing_ok=True)
        if not self.unread:
            self.unread[self.path] = set()

    def _free_name(self) -> Path:
        self._rotations += 1
        if self._by_date:
            return self.path.with_name(f"{self.path.name}-{20260000 + self._rotations}")
        for number in range(self._rotations, 0, -1):
            old = self.path.with_name(f"{self.path.name}.{number}")
            if old.exists():
                new = old.rename(old.with_name(f"{self.path.name}.{number + 1}"))
                self.unread[new] = self.unread.pop(old)
        return self.path.with_name(f"{self.path.name}.1")


class FileModel(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**32 - 1), by_date=st.booleans(), batch_lines=st.sampled_from([1, 3, 500]))
    def begin(self, seed: int, by_date: bool, batch_lines: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="file-model-"))
        self.writer = Writer(self.directory / "input.txt", by_date=by_date)
        self.writer.append(b"")
        self.publisher = UnreliablePublisher(seed)
        self.batch_lines = batch_lines
        self.runner = asyncio.Runner()
        self.tasks: list[asyncio.Task[None]] = []
        self.disk_full = False
        self.at_risk = 0
        """Lines in flight when the source was killed: they may be published twice."""
        model = self

        def store(self: CheckpointFile, checkpoint: Checkpoint) -> None:
            if model.disk_full:
                raise CheckpointError("No space left on device")
            _store(self, checkpoint)

        self.patches: list[Any] = [
            patch.object(Backoff, "delay", lambda _: 0.001),
            patch.object(os, "fsync", lambda _: None),
            patch.object(watcher, "POLL_EVERY_S", 0.002),
            patch.object(watcher, "MIN_WAIT_S", 0.001),
            patch.object(watcher.Watcher, "_start", lambda _: None),
            patch.object(CheckpointFile, "store", store),
        ]
        for each in self.patches:
            each.start()
        self.start()
        # What is rotated before the first checkpoint is not followed.
        self.runner.run(until(lambda: self.source._checkpointer.settled is not None))

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            if not self.tasks:
                self.start()
            self.settle()
        finally:
            self.kill()
            for each in self.patches:
                each.stop()
            self.runner.close()
            shutil.rmtree(self.directory)

    @property
    def running(self) -> bool:
        return bool(self.tasks)

    # The writer

    @rule(sizes=st.lists(st.sampled_from([6, 10, 39, 40, 41, 90]), min_size=1, max_size=8))
    def write(self, sizes: list[int]) -> None:
        self.writer.write(sizes)

    @rule(size=st.sampled_from([6, 20, 60]))
    def write_partial(self, size: int) -> None:
        self.writer.write_partial(size)

    @rule(create=st.booleans(), late=st.booleans())
    def rotate(self, create: bool, late: bool) -> None:
        self.writer.rotate(create=create, late=late)

    @rule(sizes=st.lists(st.just(10), min_size=1, max_size=3), times=st.integers(2, 4))
    def rotate_repeatedly(self, sizes: list[int], times: int) -> None:
        for _ in range(times):
            self.writer.rotate(create=True)
            self.writer.write(sizes)

    @rule(written_between=st.booleans())
    def copy_and_truncate(self, written_between: bool) -> None:
        self.writer.copy_and_truncate(written_between=written_between and not self.writer.partial)

    @rule()
    def truncate(self) -> None:
        self.writer.truncate()

    @rule(which=st.integers(0, 5))
    def delete(self, which: int) -> None:
        self.writer.delete(which)

    # The source

    @precondition(lambda self: not self.running)
    @rule()
    def start(self) -> None:
        dependencies = Dependencies(Metrics())
        self.registry = CollectorRegistry()
        self.relay = Relay(self.publisher, dependencies, max_messages=10, batch_messages=4, max_bytes=200)
        self.source = FileSource(
            self.writer.path,
            self.relay,
            dependencies,
            max_line_bytes=MAX_LINE_BYTES,
            rotate_wait_s=0,
            batch_lines=self.batch_lines,
            max_unsettled=20,
            metrics=RelayMetrics(self.registry),
        )

        async def create() -> None:
            self.tasks = [asyncio.create_task(self.relay.run()), asyncio.create_task(self.source.run())]

        self.runner.run(create())

    @precondition(lambda self: self.running)
    @rule(ms=st.integers(0, 5))
    def run_for(self, ms: int) -> None:
        self.runner.run(asyncio.sleep(ms / 1000))

    @precondition(lambda self: self.running)
    @rule()
    def kill(self) -> None:
        if self.tasks:
            self.at_risk += self.source.unsettled
            self.runner.run(cancel_and_wait(*self.tasks))
            self.tasks = []

    @precondition(lambda self: self.running)
    @rule()
    def stop(self) -> None:
        self.disk_full = False

        async def drain() -> None:
            self.source.stop()
            assert await self.relay.drain(within_s=30) == 0
            await asyncio.wait_for(asyncio.gather(*self.tasks), 30)

        self.runner.run(drain())
        assert self.source.unsettled == 0
        self.tasks = []

    @precondition(lambda self: self.running)
    @rule()
    def fill_disk(self) -> None:
        self.disk_full = True

    @precondition(lambda self: self.running)
    @rule()
    def settle(self) -> None:
        """Wait until all that must arrive has arrived, and compare."""
        self.disk_full = False
        self.writer.append(b"")  # the last line of a rotated file is complete once there is a new file
        expected = set(self.writer.lines) - self.writer.may_be_lost
        self.runner.run(self.arrive(expected))
        for unread in self.writer.unread.values():
            unread.clear()
        self.check()

    async def arrive(self, expected: set[bytes]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(30):
                while not self.arrived >= expected or self.source.unsettled:
                    for task in self.tasks:
                        assert not task.done(), task
                    await asyncio.sleep(0.002)
        assert self.arrived >= expected, f"missing: {sorted(expected - self.arrived)}"
        assert self.source.unsettled == 0

    @property
    def arrived(self) -> set[bytes]:
        return {*self.publisher.bodies, *self.dead}

    @property
    def dead(self) -> list[bytes]:
        path = self.directory / "input.txt.dead-letters"
        return [body for _, body in read_records(path) if body] if path.exists() else []

    def check(self) -> None:
        bodies = [body for body in self.publisher.bodies if body not in self.writer.cut_off]
        first = list(dict.fromkeys(bodies))
        known = [line for line in self.writer.lines if len(line) <= MAX_LINE_BYTES]
        assert first == [line for line in known if line in set(bodies)], "the order of first appearance"
        assert len(bodies) - len(first) <= self.publisher.repeated + self.at_risk
        assert {*self.dead} - self.writer.cut_off <= {line for line in self.writer.lines if len(line) > MAX_LINE_BYTES}
        losses = self.registry.get_sample_value("peekaping_producer_source_losses_total")
        assert self.writer.has_destroyed or losses == 0
        ids = {message.body: message.id for message in self.publisher.messages if message.body in first}
        assert len({*ids.values()}) == len(first), "no id for two lines"


FileModel.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # without shrinking: a line that is missing is waited for each time
    suppress_health_check=list(HealthCheck),
)
TestFileModel = FileModel.TestCase
