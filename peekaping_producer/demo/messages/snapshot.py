"""What is shown of the two systems: a row for each, and the commands."""

from collections.abc import Sequence

from peekaping_producer.demo.command import Command
from peekaping_producer.demo.messages.tally import Tally
from peekaping_producer.demo.view import Cell, Column, Snapshot, Styled, plain

_COLUMNS = (
    Column("system", min_width=26),
    Column("sent", right=True, min_width=8),
    Column("arrived", right=True, min_width=8),
    Column("on the way", right=True),
    Column("result", min_width=20),
)


def snapshot_of(tally: Tally, commands: Sequence[Command], *, elapsed_s: float, seconds: float) -> Snapshot:
    """Return the state after `elapsed_s` of `seconds`."""
    equal = "equal so far" if tally.equal else "NOT EQUAL"
    down = ", ".join(command.name for command in commands if command.pid is None)
    return Snapshot(
        title=f"peekaping-producer demo-queue   {elapsed_s:.0f} of {seconds:.0f} s",
        columns=_COLUMNS,
        rows=[
            _row("file → queue → file", tally.written, tally.arrived, (equal, "green" if tally.equal else "bold red")),
            _row("HTTP → queue → handler", tally.accepted, tally.handled, (f"{tally.doubled} doubled", "")),
        ],
        footer=[part for command in commands for part in _state(command)],
        line=f"{elapsed_s:3.0f} s  lines: {tally.written:,} written, {tally.arrived:,} arrived, {equal};  "
        f"messages: {tally.accepted:,} accepted, {tally.handled:,} handled{f';  {down} is down' if down else ''}",
    )


def _row(system: str, sent: int, arrived: int, result: Styled) -> list[Cell]:
    # A message may be handled before the client has received the answer.
    on_the_way = max(sent - arrived, 0)
    return [plain(system), plain(f"{sent:,}"), plain(f"{arrived:,}"), plain(f"{on_the_way:,}"), (result,)]


def _state(command: Command) -> tuple[Styled, ...]:
    if command.pid is None:
        return (f"{command.name:<22}", "dim"), ("killed\n", "bold red")
    return (f"{command.name:<22}", "dim"), (f"pid {command.pid}\n", "bold cyan")
