"""What a run found: a table to read, and JSON to keep."""

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bench.table import aligned
from tests.chaos.checker import Result
from tests.chaos.faults import Fault

_HEAD = ("fault", "times", "lost", "duplicated", "extra", "recovery, s")


def table(result: Result, faults: Sequence[Fault], missed: Mapping[str, str]) -> str:
    """One line a fault, by the rows of the fault matrix, in Markdown that reads well as it is."""
    lines = []
    for fault in faults:
        verdict = result.verdicts.get(fault.name)
        if verdict is None or fault.name in missed:
            lines.append((fault.name, "0", "", "", "", f"did not happen: {missed.get(fault.name, 'no time')}"))
            continue
        recovery = "not within its time" if verdict.recovery_s is None else f"{verdict.recovery_s:.1f}"
        counts = (verdict.times, verdict.lost, verdict.duplicated, verdict.extra)
        lines.append((fault.name, *map(str, counts), recovery))
    return aligned([_HEAD, *lines])


def document(
    result: Result, faults: Sequence[Fault], missed: Mapping[str, str], *, command: str, **details: Any
) -> dict[str, Any]:
    """The same for a program, and what it takes to do it again."""
    return {
        "command": command,
        **details,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "faults": [
            {
                "name": fault.name,
                "row": fault.row,
                "missed": missed.get(fault.name),
                "verdict": msgspec.to_builtins(result.verdicts.get(fault.name)),
            }
            for fault in faults
        ],
        "violations": msgspec.to_builtins(result.violations),
    }
