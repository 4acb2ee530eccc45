"""What is shown of the monitors: a row for each, the leader, and the counts."""

import time

from peekaping_producer.demo.monitors.ledger import Ledger, Row
from peekaping_producer.demo.view import Cell, Column, Snapshot, plain

_LATE_MS = 1000
_COLUMNS = (
    Column("monitor", min_width=12),
    Column("every", right=True),
    Column("last\nhand-off"),
    Column("late", right=True, min_width=8),
    Column("result", min_width=25),
    Column("checks", right=True),
)


def snapshot_of(ledger: Ledger, leader: str, *, elapsed_s: float, seconds: float) -> Snapshot:
    """Return the state after `elapsed_s` of `seconds`."""
    return Snapshot(
        title=f"peekaping-producer demo   {elapsed_s:.0f} of {seconds:.0f} s",
        columns=_COLUMNS,
        rows=[_cells(row) for row in ledger.rows.values()],
        footer=(
            ("leader  ", "dim"),
            (leader, "bold cyan"),
            (f"\n{ledger.handed_off} handed off, {ledger.completed} completed, {ledger.duplicated} duplicated", ""),
        ),
        line=f"{elapsed_s:3.0f} s  leader: {leader};  handed off {ledger.handed_off}, "
        f"completed {ledger.completed} ({ledger.up} up), at most {ledger.latest_ms} ms late",
    )


def _cells(row: Row) -> list[Cell]:
    return [
        plain(row.name),
        plain(f"{row.interval} s"),
        plain(time.strftime("%H:%M:%S", time.localtime(row.tick_ms / 1000)) if row.tick_ms is not None else "-"),
        _lateness(row),
        _result(row),
        plain(row.checks),
    ]


def _lateness(row: Row) -> Cell:
    if row.late_ms is None:
        return (("first" if row.tick_ms else "-", "dim"),)
    return ((f"+{row.late_ms} ms", "red" if row.late_ms > _LATE_MS else "green"),)


def _result(row: Row) -> Cell:
    if row.result is None:
        return (("-", "dim"),)
    mark, style = ("up", "green") if row.result.up else ("DOWN", "bold red")
    return ((f"{mark:<5}", style), (f"{row.result.kind}, {row.result.took_ms} ms", ""))
