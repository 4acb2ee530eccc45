"""What the demo of messages counts and kills, and how it ends."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from peekaping_producer.demo.command import Command, CommandExitedError
from peekaping_producer.demo.messages import environment, run_demo
from peekaping_producer.demo.messages.clients import ApiClients
from peekaping_producer.demo.messages.handler import HANDLED, record
from peekaping_producer.demo.messages.kills import Kills
from peekaping_producer.demo.messages.lines import LineWriter
from peekaping_producer.demo.messages.snapshot import snapshot_of
from peekaping_producer.demo.messages.tally import Tally
from peekaping_producer.errors import ConfigError
from peekaping_producer.transports.message import Message


class Sent:
    """Files of a demo, without processes."""

    def __init__(self, folder: Path) -> None:
        self.input, self.output, self.handled = (folder / name for name in ("input.txt", "output.txt", "handled.txt"))
        self.writer, self.clients = LineWriter(self.input), ApiClients(1)
        self.tally = Tally(self.writer, self.clients, sent=self.input, output=self.output, handled=self.handled)
        self.input.write_bytes(b"one\ntwo\nthree\n")
        self.writer.lines = 3
        self.clients.answered = {"0", "1"}


@pytest.fixture
def sent(tmp_path: Path) -> Sent:
    return Sent(tmp_path)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_all_that_arrives_in_order_passes_and_a_repeated_message_counts_as_doubled(sent: Sent) -> None:
    tally = sent.tally
    for output, handled in ((b"one\ntw", b"0\n"), (b"o\nthree\n", b"1"), (b"", b"\n1\n")):
        append(sent.output, output)
        append(sent.handled, handled)
        assert not tally.is_complete
        tally.read()
    assert (tally.written, tally.arrived, tally.equal) == (3, 3, True)
    assert (tally.accepted, tally.handled, tally.doubled, tally.lost) == (2, 2, 1, 0)
    assert tally.is_complete
    assert tally.passed


@pytest.mark.parametrize(
    ("output", "handled"),
    [
        (b"one\ntwo\n", b"0\n1\n"),
        (b"one\ntwo\nthrex\n", b"0\n1\n"),
        (b"one\none\ntwo\nthree\n", b"0\n1\n"),
        (b"two\none\nthree\n", b"0\n1\n"),
        (b"one\ntwo\nthree\n", b"0\n"),
    ],
    ids=["a line is missing", "a line differs", "a line is doubled", "the order differs", "a message is missing"],
)
def test_anything_lost_or_different_fails(sent: Sent, output: bytes, handled: bytes) -> None:
    append(sent.output, output)
    append(sent.handled, handled)
    sent.tally.read()
    assert not sent.tally.passed


def test_nothing_has_arrived_before_the_files_exist(sent: Sent) -> None:
    sent.tally.read()
    assert (sent.tally.arrived, sent.tally.handled, sent.tally.lost) == (0, 0, 2)
    assert not sent.tally.is_complete


def test_the_handler_records_each_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("1", "2", "1"):
        record(Message(name, b"{}"))
    assert HANDLED.read_text() == "1\n2\n1\n"


class StandIn(Command):
    """A command without a process."""

    def __init__(self, name: str) -> None:
        super().__init__(name, Path(), (), {})
        self.now: int | None = 1

    @property
    def pid(self) -> int | None:
        return self.now

    def start(self) -> None:
        self.now = 2

    async def stop(self, *, kill: bool = False) -> None:
        assert kill
        self.now = None


async def test_each_command_is_killed_once_and_started_again_a_second_later() -> None:
    relay, api = StandIn("relay"), StandIn("serve")
    announced: list[str] = []
    kills = Kills([(2.0, relay), (4.0, api)], announced.append)
    pids: list[tuple[float, int | None, int | None]] = []
    for elapsed in (1.9, 2.0, 2.9, 3.0, 4.1, 5.0):
        await kills.step(elapsed)
        pids.append((elapsed, relay.pid, api.pid))
    assert pids == [(1.9, 1, 1), (2.0, None, 1), (2.9, None, 1), (3.0, 2, 1), (4.1, 2, None), (5.0, 2, None)]
    assert not kills.are_complete
    kills.start_again()  # at the end, whenever that is
    kills.start_again()
    assert (api.pid, kills.are_complete, kills.names, len(announced)) == (2, True, ["relay", "serve"], 4)


def test_a_command_that_is_down_is_shown(sent: Sent) -> None:
    relay, sink = StandIn("relay"), StandIn("consume to file")
    relay.now = None
    snapshot = snapshot_of(sent.tally, (relay, sink), elapsed_s=3.0, seconds=30.0)
    assert snapshot.line == (
        "  3 s  lines: 3 written, 0 arrived, equal so far;  messages: 2 accepted, 0 handled;  relay is down"
    )
    assert [text for text, _ in snapshot.footer] == [
        f"{'relay':<22}",
        "killed\n",
        f"{'consume to file':<22}",
        "pid 1\n",
    ]


@pytest.mark.parametrize("seconds", [4, 3601, float("nan")])
async def test_a_duration_out_of_range_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match=f"^--seconds: expected 5 to 3600, got {seconds:g}$"):
        await run_demo(seconds)


async def test_a_command_that_exits_ends_the_demo_with_its_last_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(environment, "PROGRAM", (sys.executable, "-c", "print('a bad setting'); raise SystemExit(2)"))
    with pytest.raises(CommandExitedError, match=r"(relay|consume .*|serve) exited with code 2: a bad"):
        await run_demo(5)
    assert os.listdir(tmp_path) == []
