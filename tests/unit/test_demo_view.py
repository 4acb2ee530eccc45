"""What the demo prints: lines, the live table, colors."""

import re
import sys
from pathlib import Path

import pytest

from peekaping_producer.demo.monitors.ledger import Ledger
from peekaping_producer.demo.monitors.snapshot import snapshot_of
from peekaping_producer.demo.table import LiveTable
from peekaping_producer.demo.view import GuardedView, Lines, counted, open_view
from tests.kit.memory_store import monitor


def test_without_rich_a_terminal_gets_lines_and_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setitem(sys.modules, "peekaping_producer.demo.table", None)
    assert isinstance(open_view(), Lines)
    assert capsys.readouterr().out == "For the live table: pip install rich\n"


def test_a_closed_terminal_is_reported_once_and_nothing_more_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class ClosedTerminal(Lines):
        def announce(self, sentence: str) -> None:
            raise BrokenPipeError(sentence)

    gone: list[bool] = []
    view = GuardedView(ClosedTerminal(), gone=lambda: gone.append(True))
    with (tmp_path / "screen").open("w") as screen:
        monkeypatch.setattr(sys, "stdout", screen)
        view.announce("an event")
        view.print("a summary")
    assert gone == [True]
    assert (tmp_path / "screen").read_text() == ""


@pytest.mark.parametrize(
    ("environment", "colors"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_lines_are_colored_as_the_environment_says(
    environment: dict[str, str], colors: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    open_view().announce("a leader")
    assert ("\x1b[" in capsys.readouterr().out) is colors


@pytest.mark.parametrize(("environment", "colors"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_the_table_is_colored_as_the_environment_says(
    environment: dict[str, str], colors: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in ({"FORCE_COLOR": "1", "TERM": "xterm-256color"} | environment).items():
        monkeypatch.setenv(name, value)
    table = LiveTable()
    table.announce("a leader")
    table.show(snapshot_of(Ledger([monitor("a", 2)]), "replica 1", elapsed_s=1.0, seconds=30.0))
    table.close()
    assert bool(re.search(r"\x1b\[[\d;]*3[0-7]", capsys.readouterr().out)) is colors


def test_counts_agree_with_their_nouns() -> None:
    assert (counted(0, "check"), counted(1, "check"), counted(2, "check")) == ("0 checks", "1 check", "2 checks")
