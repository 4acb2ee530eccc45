"""Clocks that can be set, for processes that read the real one: by libfaketime, from Debian's package `faketime`."""

import os
from pathlib import Path

HOW_TO_GET_IT = "libfaketime, which sets the clock of a process: apt install faketime"
_PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")


def library() -> Path | None:
    """Where libfaketime is on this machine, if it is."""
    return next((path for pattern in _PLACES for path in Path("/").glob(pattern.lstrip("/"))), None)


class SettableClock:
    """The wall clock of the processes that start with `environment` (ours, and what sets their clock).

    While they run, `set` moves it. Their monotonic clock stays the real one. Raises RuntimeError where there is no
    libfaketime.
    """

    def __init__(self, folder: Path, name: str) -> None:
        found = library()
        if found is None:
            raise RuntimeError(f"missing: {HOW_TO_GET_IT}")
        self._file = folder / f"clock-of-{name}"
        self.offset_s = 0.0
        self.set(0.0)
        self._file.chmod(0o644)
        self.environment = {
            **os.environ,
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset_s: float) -> None:
        """From now on the clock is the real one plus this many seconds."""
        self.offset_s = offset_s
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset_s:+f}\n")
        fresh.replace(self._file)
