"""The live table, for a terminal. Needs rich, which comes with the extra `embedded`."""

import time

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from peekaping_producer.demo.ledger import Row
from peekaping_producer.demo.view import Snapshot

_LATE_MS = 1000
_DRAW_EVERY_S = 0.25


class LiveTable:
    """A table that is redrawn in place, with the events below it."""

    def __init__(self) -> None:
        self._announced: list[Text] = []
        self._live = Live(console=Console(), auto_refresh=False, vertical_overflow="crop")
        self._live.start()
        self._next_at = 0.0

    def show(self, snapshot: Snapshot) -> None:
        """Redraw it, at most four times a second."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + _DRAW_EVERY_S
        self._live.update(Group(_table(snapshot), _footer(snapshot), *self._announced), refresh=True)

    def announce(self, sentence: str) -> None:
        """Show the sentence below the table, with the time of day."""
        self._announced.append(Text.assemble((time.strftime("%H:%M:%S  "), "dim"), (sentence, "bold yellow")))

    def close(self) -> None:
        """Stop redrawing and show the cursor again; the last table stays."""
        self._live.stop()


def _table(snapshot: Snapshot) -> Table:
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # 80 columns are enough
        title=f"peekaping-producer demo   {snapshot.elapsed_s:.0f} of {snapshot.seconds:.0f} s",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("monitor", min_width=12)
    table.add_column("every", justify="right")
    table.add_column("last\nhand-off")
    table.add_column("late", justify="right", min_width=8)
    table.add_column("result", min_width=25)
    table.add_column("checks", justify="right")
    for row in snapshot.ledger.rows.values():
        table.add_row(row.name, f"{row.interval} s", _clock(row), _lateness(row), _result(row), str(row.checks))
    return table


def _footer(snapshot: Snapshot) -> Text:
    ledger = snapshot.ledger
    return Text.assemble(
        ("leader  ", "dim"),
        (snapshot.leader, "bold cyan"),
        f"\n{ledger.handed_off} handed off, {ledger.completed} completed, {ledger.duplicated} duplicated",
    )


def _clock(row: Row) -> str:
    return time.strftime("%H:%M:%S", time.localtime(row.tick_ms / 1000)) if row.tick_ms is not None else "-"


def _lateness(row: Row) -> Text:
    if row.late_ms is None:
        return Text("first" if row.tick_ms else "-", "dim")
    return Text(f"+{row.late_ms} ms", "red" if row.late_ms > _LATE_MS else "green")


def _result(row: Row) -> Text:
    if row.result is None:
        return Text("-", "dim")
    mark, style = ("up", "green") if row.result.up else ("DOWN", "bold red")
    return Text.assemble((f"{mark:<5}", style), f"{row.result.kind}, {row.result.took_ms} ms")
