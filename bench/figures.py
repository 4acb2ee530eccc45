"""Figures that a scenario measured, with their bounds."""

import math
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """One measured quantity, with the values of all rounds."""

    name: str
    unit: str
    rounds: list[float]
    """Empty if it was not measured; `note` gives the reason."""
    better: Literal["higher", "lower"] = "lower"
    required: float | None = None
    target: float | None = None
    note: str = ""

    @property
    def value(self) -> float | None:
        """The median of the rounds."""
        return median(self.rounds) if self.rounds else None

    def reaches(self, bound: float | None) -> bool | None:
        """Whether the median is as good as `bound`; None without a value or a bound."""
        if self.value is None or bound is None:
            return None
        return self.value >= bound if self.better == "higher" else self.value <= bound


class Report(msgspec.Struct, frozen=True):
    """One run of the bench."""

    command: str
    machine: str
    figures: list[Figure]
    wrong: dict[str, str] = {}
    """By scenario: what was wrong with its result. Such a scenario has no figures."""

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


def read(path: Path) -> Report:
    """Read a report. Raises OSError, and ValueError for a file of another form."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: expected a report of the bench: {error}") from None


def percentile(values: list[float], percent: float) -> float:
    """The smallest of `values` that at least `percent` of them do not exceed (the nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
