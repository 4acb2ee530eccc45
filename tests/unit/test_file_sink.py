"""The file sink: its output and its journal, and what it refuses."""

import os
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from peekaping_producer.errors import ConfigError
from peekaping_producer.messages.sinks.file import FileSink
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery
from tests.kit.file_sink import (
    append,
    content,
    cut_off,
    deliveries,
    exists,
    journal,
    lines,
    opened,
    remove,
    rename,
    replace_content,
    write,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "output.txt"


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
