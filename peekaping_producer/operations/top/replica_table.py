"""The replicas, one in each line, with as many columns as fit."""

from collections.abc import Callable

import msgspec

from peekaping_producer.operations.heartbeat import Heartbeat, StageTime
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.replica_report import decode_report
from peekaping_producer.operations.top.styled import Line, Style, columns
from peekaping_producer.service.text import duration, one_line


class _Row(msgspec.Struct, frozen=True):
    node: str
    name: str
    leads: bool
    beat: Heartbeat
    heard_s: float
    age_s: float | None
    is_silent: bool

    @property
    def style(self) -> Style:
        if self.is_silent:
            return Style.BAD
        return Style.WARN if self.beat.failing else Style.PLAIN


def _stage(stage: StageTime) -> str:
    return "-" if stage.recent_ms is None else f"{stage.recent_ms:,.0f}"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else duration(value / 1000)


_COLUMNS: tuple[tuple[str, bool, Callable[[_Row], str]], ...] = (
    ("REPLICA", False, lambda row: f"{row.name}{' *' if row.leads else ''}"),
    ("PER S", True, lambda row: f"{sum(row.beat.rings.handed_off_1s[-6:-1]) / 5:,.0f}"),
    ("LATE p99", True, lambda row: "-" if row.beat.lateness.p99_s is None else duration(row.beat.lateness.p99_s)),
    ("HEARD", True, lambda row: duration(row.heard_s)),
    ("CLAIM", True, lambda row: _stage(row.beat.stages.claim)),
    ("READ", True, lambda row: _stage(row.beat.stages.read)),
    ("BUILD", True, lambda row: _stage(row.beat.stages.build)),
    ("HAND OFF ms", True, lambda row: _stage(row.beat.stages.hand_off)),
    ("DATABASE", True, lambda row: _milliseconds(row.beat.database_ms)),
    ("REDIS", True, lambda row: _milliseconds(row.beat.round_trip_ms)),
    ("SINCE", True, lambda row: "-" if row.age_s is None else duration(row.age_s)),
    ("VERSION", False, lambda row: one_line(row.beat.version, 20) or "-"),
    ("NODE", False, lambda row: "" if row.node == row.name else one_line(row.node, 40)),
)
"""Title, whether it is aligned to the right, and the cell; the most important first."""


def replica_lines(look: Look, width: int) -> list[Line]:
    """Return a title line and a line for each replica that was heard within the last minute; * marks the leader."""
    rows = _rows(look)
    cells = [[cell(row) for row in rows] for _, _, cell in _COLUMNS]
    widths = [max([columns(title), *map(columns, of)]) for (title, _, _), of in zip(_COLUMNS, cells, strict=True)]
    shown, used = 0, -2
    while shown < len(_COLUMNS) and (used := used + 2 + widths[shown]) <= width:
        shown += 1
    lines: list[Line] = [[(_joined([title for title, _, _ in _COLUMNS], widths, shown or 1), Style.DIM)]]
    for n, row in enumerate(rows):
        lines.append([(_joined([of[n] for of in cells], widths, shown or 1), row.style)])
        lines += [[(f"  {_failing(found.name, found.reason)}", Style.WARN)] for found in row.beat.failing]
    return lines if rows else [[("no replica has reported within the last minute", Style.BAD)]]


def _failing(name: str, reason: str) -> str:
    return f"{one_line(name, 20)} fails: {one_line(reason, 120)}"


def _joined(cells: list[str], widths: list[int], shown: int) -> str:
    padded = []
    for cell, width, (_, is_right, _) in list(zip(cells, widths, _COLUMNS, strict=True))[:shown]:
        gap = " " * (width - columns(cell))
        padded.append(gap + cell if is_right else cell + gap)
    return "  ".join(padded).rstrip()


def _rows(look: Look) -> list[_Row]:
    rows = []
    stored = (*look.stats.reports, *look.stats.silent) if look.stats else ()
    for found in stored:
        if (report := decode_report(found.text)) is None:
            continue
        beat = report.heartbeat or Heartbeat()
        age_s = max(0.0, (look.now_ms - beat.started_ms) / 1000) if beat.started_ms else None
        heard_s = max(0.0, (look.now_ms - found.at_ms) / 1000)
        name = look.name(found.node)
        rows.append(_Row(found.node, name, report.leads, beat, heard_s, age_s, found.node in look.silent))
    return sorted(rows, key=lambda row: (row.name, row.node))
