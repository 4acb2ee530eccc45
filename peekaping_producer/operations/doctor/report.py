"""An examination as text and as JSON. Fields may be added; VERSION is incremented when one changes its meaning."""

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from peekaping_producer.operations.doctor.codes import Finding, Level
from peekaping_producer.operations.doctor.examination import Examination
from peekaping_producer.service.text import counted, escaped

VERSION = 1
_LABEL_WIDTH = 12
_INDENT = _LABEL_WIDTH + 7
"""Of the text, behind label and mark."""
_MARKS: Mapping[Level, str] = {Level.OK: "ok", Level.NOTE: "note", Level.PROBLEM: "FAIL"}
_COLORS = {Level.OK: 32, Level.NOTE: 33, Level.PROBLEM: 31}


def lines_of(examination: Examination, *, color: bool = False, width: int = 0) -> list[str]:
    """Return the findings, by group. `color` adds colors to the marks, which are words in any case.

    `width`: of a terminal, in columns, at which long lines are wrapped; 0 for none.
    """
    lines = []
    for group in examination.groups:
        label = group
        for found in (found for found in examination.findings if found.group == group):
            lines += _lines_of(found, label, color=color, width=width)
            label = ""
    problems, notes = examination.count(Level.PROBLEM), examination.count(Level.NOTE)
    more = " Each code is explained in docs/doctor.md." if problems or notes else ""
    return [*lines, "", f"{counted(problems, 'problem')}, {counted(notes, 'note')}.{more}"]


def _lines_of(found: Finding, label: str, *, color: bool, width: int) -> list[str]:
    mark = f"{_MARKS[found.level]:<4}"
    if color:
        mark = f"\033[{_COLORS[found.level]}m{mark}\033[0m"
    code = "" if found.level is Level.OK else f" [{found.code}]"
    first, *others = _wrapped(f"{escaped(found.text)}{code}", width)
    others += _wrapped(escaped(found.remedy), width) if found.remedy else ()
    return [f"{label:<{_LABEL_WIDTH}} {mark}  {first}", *(f"{'':<{_INDENT}}{line}" for line in others)]


def _wrapped(line: str, width: int) -> list[str]:
    return wrap(line, max(width - _INDENT, 20), break_long_words=False, break_on_hyphens=False) if width else [line]


def document_of(examination: Examination) -> dict[str, Any]:
    """Return the documented form of `doctor --json`."""
    return {
        "version": VERSION,
        "healthy": examination.exit_code == 0,
        "unreachable": examination.is_unreachable,
        "groups": list(examination.groups),
        "problems": examination.count(Level.PROBLEM),
        "notes": examination.count(Level.NOTE),
        "findings": [
            {
                "group": found.group,
                "code": found.code,
                "level": found.level.value,
                "text": found.text,
                "remedy": found.remedy or None,
            }
            for found in examination.findings
        ],
    }
