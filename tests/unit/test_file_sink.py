"""The file sink: its output and its journal after every fault."""

import asyncio
import contextlib
import errno
import itertools
import os
import resource
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from peekaping_producer.errors import ConfigError, OutputUnavailableError
from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.durability import write_all
from peekaping_producer.messages.sinks import output
from peekaping_producer.messages.sinks.file import FileSink
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery
from tests.kit.file_faults import CrashError, FileFaults
from tests.kit.receivers import MemoryReceiver
from tests.kit.waiting import until

Batches = list[list[Delivery]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "output.txt"


def deliveries(*numbers: int) -> list[Delivery]:
    return [Delivery(Message(f"generation:{number}", f"line {number}".encode())) for number in numbers]


def lines(*numbers: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in numbers)


def content(path: Path) -> bytes:
    return path.read_bytes()


def replace_content(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def cut_off(path: Path, size: int) -> None:
    os.truncate(path, path.stat().st_size - size)


def rename(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def remove(path: Path) -> None:
    path.unlink()


def exists(path: Path) -> bool:
    return path.exists()


def journal(path: Path) -> Path:
    return path.with_name(f"{path.name}.journal")


@asynccontextmanager
async def opened(path: Path, *, dedup: bool = True, **options: Any) -> AsyncIterator[FileSink]:
    sink = FileSink(path, dedup=dedup, **options)
    await sink.open()
    try:
        yield sink
    finally:
        await sink.close()


async def write(path: Path, *batches: Sequence[int], **options: Any) -> None:
    async with opened(path, **options) as sink:
        for batch in batches:
            await sink.run(deliveries(*batch))


@pytest.mark.parametrize("dedup", [False, True])
async def test_bodies_become_lines_byte_for_byte(path: Path, dedup: bool) -> None:
    bodies = [b"a", b"", b"b\r", b"\xff\x00", b"  c "]
    async with opened(path, dedup=dedup) as sink:
        await sink.run([Delivery(Message(f"{n}", body)) for n, body in enumerate(bodies)])
        assert content(path) == b"a\n\nb\r\n\xff\x00\n  c \n", "before the call returns"
    assert exists(journal(path)) == dedup


async def test_a_message_that_comes_again_is_not_written_again(path: Path) -> None:
    await write(path, [1, 2, 2], [2, 3], [1, 2, 3])
    await write(path, [3, 4])
    assert content(path) == lines(1, 2, 3, 4)
    await write(path, [4, 5], dedup=False)
    assert content(path) == lines(1, 2, 3, 4, 4, 5)


async def test_ids_that_are_not_utf_8_are_known_after_a_restart(path: Path) -> None:
    strange = [Delivery(Message("\udcff\u00e9\n", b"a"))]
    for _ in range(2):
        async with opened(path) as sink:
            await sink.run(strange)
    assert content(path) == b"a\n"


async def test_only_the_last_ids_are_kept_and_the_journal_stays_small(path: Path) -> None:
    async with opened(path, kept_ids=10) as sink:
        for number in range(0, 200, 2):
            await sink.run(deliveries(number, number + 1))
            assert content(journal(path)).count(b"generation:") <= 20
    async with opened(path, kept_ids=10) as sink:
        await sink.run(deliveries(*range(190, 201)))
        await sink.run(deliveries(0))
    assert content(path) == lines(*range(201), 0)
    assert not exists(journal(path).with_name("output.txt.journal.new"))


async def consume(sink: FileSink, batches: Batches) -> None:
    """Do as a consumer: acknowledge what is written, and repeat what is not."""
    while batches:
        try:
            await sink.run(batches[0])
        except OutputUnavailableError:
            continue
        del batches[0]


async def consume_with(faults: FileFaults, path: Path) -> Batches:
    """Return what is not acknowledged when the process is killed."""
    batches = [deliveries(*range(start, start + 3)) for start in range(0, 18, 3)]
    sink = FileSink(path, dedup=True, kept_ids=6)
    with faults.injected(), contextlib.suppress(CrashError, ConfigError):
        await sink.open()
        await consume(sink, batches)
    await sink.close()
    return batches


@pytest.mark.parametrize("power_lost", [False, True])
async def test_a_kill_at_any_call_loses_and_doubles_nothing(tmp_path: Path, power_lost: bool) -> None:
    for first in itertools.count():
        path = tmp_path / f"{first}.txt"
        faults = FileFaults(first, CrashError(), times=1_000_000)
        left = await consume_with(faults, path)
        if power_lost:
            faults.lose_power(path, journal(path))
        async with opened(path, kept_ids=6) as sink:
            await consume(sink, list(left))
        assert content(path) == lines(*range(18)), f"killed at call {first}"
        if faults.calls <= first:
            break
        assert left, "killed"
    assert first > 20


@pytest.mark.parametrize(("times", "then_crash"), [(1, None), (3, None), (7, None), (1, 0), (1, 1), (2, 0), (2, 3)])
async def test_an_error_of_any_call_loses_and_doubles_nothing(
    tmp_path: Path, times: int, then_crash: int | None
) -> None:
    for first in itertools.count():
        path = tmp_path / f"{first}.txt"
        faults = FileFaults(first, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), times, then_crash=then_crash)
        left = await consume_with(faults, path)
        async with opened(path, kept_ids=6) as sink:  # after a kill
            await consume(sink, left)
            await consume(sink, [deliveries(15, 16, 17)])
        assert content(path) == lines(*range(18)), f"errors from call {first} on"
        if faults.calls <= first:
            break
    assert first > 20


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder with little space, and a call that makes more. Without the rights to mount one: a limit of sizes."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "none", folder], capture_output=True
    ).returncode
    if mounted == 0:
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(64 * 1024))
        try:
            yield folder, ballast.unlink
        finally:
            subprocess.run(["umount", folder], check=True)
        return
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        yield folder, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def test_a_full_disk_stops_consuming_until_there_is_space(tmp_path: Path) -> None:
    with small_disk(tmp_path) as (folder, make_space):
        path = folder / "output.txt"
        sent = [Message(f"generation:{number}", b"%05d " % number + bytes(94)) for number in range(600)]
        receiver, dependencies = MemoryReceiver(*sent), Dependencies(Metrics())
        with capture_logs() as logs:
            task = asyncio.create_task(
                Consumer(receiver, FileSink(path, dedup=True, batch_size=100), dependencies).run()
            )
            await until(lambda: "output" in dependencies.troubles)
            acknowledged = len(receiver.acknowledged)
            assert acknowledged < 600
            assert len(content(path).splitlines()) == acknowledged
            assert len(receiver.held) == 100, "the batch is kept, and no other received"
            make_space()
            await until(lambda: len(receiver.acknowledged) == 600)
        assert dependencies.troubles == {}
        assert [each["event"] for each in logs] == ["dependency.failing", "dependency.recovered"]
        assert content(path) == b"".join(message.body + b"\n" for message in sent)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_write_that_hangs_is_reported_until_it_ends(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peekaping_producer.service.dependencies._ASK_EVERY_S", 0.01)
    monkeypatch.setattr("peekaping_producer.messages.sinks.file.SLOW_AFTER_S", 0.02)
    gate, write = threading.Event(), output.OutputFile.append

    def hang(file: output.OutputFile, lines: bytes) -> None:
        gate.wait()
        write(file, lines)

    monkeypatch.setattr(output.OutputFile, "append", hang)
    receiver, dependencies = MemoryReceiver(Message("1", b"line")), Dependencies(Metrics())
    task = asyncio.create_task(Consumer(receiver, FileSink(path), dependencies).run())
    try:
        await until(lambda: "output" in dependencies.troubles)
        assert f"{path}: no write for 0 s" in dependencies.troubles["output"].reason
    finally:
        gate.set()
    await until(lambda: receiver.acknowledged == ["1"])
    assert dependencies.troubles == {}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_canceled_call_whose_lines_are_written_succeeds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise they would be written again."""
    began, gate = threading.Event(), threading.Event()

    def slow(fd: int) -> None:
        began.set()
        gate.wait()

    monkeypatch.setattr(os, "fdatasync", slow)
    async with opened(path, dedup=False) as sink:
        call = asyncio.create_task(sink.run(deliveries(1)))
        await until(began.is_set)
        call.cancel()
        await asyncio.sleep(0)
        assert not call.done()
        gate.set()
        await call
    assert content(path) == lines(1)


async def test_one_process_at_a_time_writes_an_output(path: Path) -> None:
    async with opened(path):
        with pytest.raises(ConfigError, match=r"output: expected no other process on .*output.txt, got one that holds"):
            await FileSink(path).open()
    async with opened(path, dedup=False):
        pass


async def test_an_output_that_cannot_be_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, problem in (
        ("missing/output.txt", "expected a writable directory for .*missing/output.txt.lock, got: No such file"),
        ("", "Is a directory"),
        ("fifo", "it is no regular file"),
    ):
        with pytest.raises(ConfigError, match=problem):
            await FileSink(tmp_path / name).open()


@pytest.mark.parametrize("edited", [lines(1), lines(1, 2).replace(b"2", b"x"), lines(0) + lines(1, 2)])
async def test_an_output_that_was_edited_while_no_process_wrote_it_is_refused(path: Path, edited: bytes) -> None:
    await write(path, [1, 2])
    replace_content(path, edited)
    with pytest.raises(ConfigError, match=r"expected the 14 bytes that the journal describes in .*, got a file"):
        await FileSink(path, dedup=True).open()
    assert content(path) == edited
    remove(journal(path))
    await write(path, [3])
    assert content(path) == edited + lines(3)


@pytest.mark.parametrize("cut", range(1, 60, 7))
async def test_a_torn_record_is_ignored_with_its_lines(path: Path, cut: int) -> None:
    await write(path, [1, 2], [3])
    cut_off(journal(path), cut)
    with capture_logs() as logs:
        await write(path, [3, 4])
    assert content(path) == lines(1, 2, 3, 4)
    assert [each["event"] for each in logs] == ["output.cut"]


async def test_lines_that_are_removed_at_start_are_kept(path: Path) -> None:
    """They may be all that is left: of an operator, or of messages whose records an old copy of the journal lacks."""
    await write(path, [1])
    before = content(journal(path))
    await write(path, [2], [3])
    replace_content(journal(path), before)
    await write(path)
    append(path, b"appended by hand\n")
    await write(path, [4])
    assert content(path) == lines(1, 4)
    assert content(path.with_name(f"{path.name}.removed")) == lines(2, 3) + b"appended by hand\n"


async def test_zeros_at_the_end_of_the_journal_are_ignored(path: Path) -> None:
    """As after a power loss."""
    await write(path, [1, 2])
    append(journal(path), bytes(4096))
    await write(path, [2, 3])
    await write(path, [3, 4])
    assert content(path) == lines(1, 2, 3, 4)


async def test_damage_inside_the_journal_is_refused(path: Path) -> None:
    """To ignore all from there would cut off lines that are acknowledged."""
    await write(path, [1], [2], [3])
    data = content(journal(path))
    replace_content(journal(path), data.replace(b"generation:2", b"generation:x"))
    with pytest.raises(
        ConfigError, match=r"expected whole records in .*output.txt.journal, got a damaged one at byte \d"
    ):
        await FileSink(path, dedup=True).open()
    assert content(path) == lines(1, 2, 3)


@pytest.mark.parametrize("dedup", [False, True])
async def test_an_output_that_is_rotated_or_truncated_is_followed(path: Path, dedup: bool) -> None:
    async with opened(path, dedup=dedup) as sink:
        await sink.run(deliveries(1))
        rotated = rename(path, "output.txt.1")
        await sink.run(deliveries(2))
        shutil.copy(path, path.with_name("output.txt.2"))
        os.truncate(path, 0)
        with capture_logs() as logs:
            await sink.run(deliveries(3))
        assert [(each["event"], each["how"]) for each in logs] == [("output.changed", "truncated")]
        remove(path)
        await sink.run(deliveries(4))
        append(path, b"from another program")
        await sink.run(deliveries(5))
    rename(path, "output.txt.3")
    await write(path, [6], [7], dedup=dedup)
    assert content(rotated) == lines(1)
    assert content(path.with_name("output.txt.2")) == lines(2)
    assert content(path.with_name("output.txt.3")) == lines(4) + b"from another program\n" + lines(5)
    assert content(path) == lines(6, 7)
    if dedup:
        await write(path, [1, 2, 3, 4, 5, 6, 7], [8])
        assert content(path) == lines(6, 7, 8)


@pytest.mark.parametrize("dedup", [False, True])
async def test_lines_of_an_output_that_is_deleted_while_it_is_written_are_not_acknowledged(
    path: Path, dedup: bool
) -> None:
    async with opened(path, dedup=dedup) as sink:
        await sink.run(deliveries(1))
        with (
            patch.object(output, "sync_data", side_effect=lambda _: remove(path)),
            pytest.raises(OutputUnavailableError, match="the file was deleted while it was written"),
        ):
            await sink.run(deliveries(2))
        await sink.run(deliveries(2, 3))
    assert content(path) == lines(2, 3)


async def test_a_kill_after_an_output_was_truncated_while_it_was_written(path: Path) -> None:
    async with opened(path) as sink:
        await sink.run(deliveries(1))

        def truncate_and_write(fd: int, data: bytes) -> None:
            os.truncate(path, 0)
            write_all(fd, data)

        with patch.object(output, "write_all", truncate_and_write):
            await sink.run(deliveries(2))
    await write(path, [2, 3])
    assert content(path) == lines(2, 3)


@pytest.mark.parametrize("times", [1, 2])
async def test_an_error_of_any_call_after_a_rotation_loses_and_doubles_nothing(tmp_path: Path, times: int) -> None:
    for first in itertools.count():
        path = tmp_path / f"{first}.txt"
        faults = FileFaults(first, OSError(errno.EIO, os.strerror(errno.EIO)), times)
        async with opened(path) as sink:
            await sink.run(deliveries(1, 2))
            rotated = rename(path, f"{first}.rotated")
            with faults.injected():
                await consume(sink, [deliveries(3, 4), deliveries(5)])
        await write(path, [3, 4, 5], [6])
        assert content(rotated) + content(path) == lines(1, 2, 3, 4, 5, 6), f"errors from call {first} on"
        if faults.calls <= first:
            break
    assert first > 5


async def test_a_journal_that_is_deleted_while_it_is_used_is_written_again(path: Path) -> None:
    async with opened(path) as sink:
        await sink.run(deliveries(1))
        remove(journal(path))
        await sink.run(deliveries(2))
    await write(path, [1, 2, 3])
    assert content(path) == lines(1, 2, 3)


async def test_a_line_that_a_kill_has_cut_off_is_ended(path: Path) -> None:
    """Without a journal it is unknown which lines will come again."""
    replace_content(path, b"line 1\nlin")
    await write(path, [2], dedup=False)
    assert content(path) == b"line 1\nlin\nline 2\n"


async def test_of_messages_with_one_id_the_first_is_written(path: Path) -> None:
    same = [Delivery(Message("id", body)) for body in (b"first", b"second", b"third")]
    async with opened(path) as sink:
        await sink.run(same[:2])
        await sink.run(same[2:])
    assert content(path) == b"first\n"
