"""Faults in the calls that change files: the nth one fails, with half of its bytes written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

_CALLS = ("write", "fdatasync", "fsync", "ftruncate", "replace")


class CrashError(BaseException):
    """The process is killed here: after it, no call has an effect."""


class FileFaults:
    """Within `injected`, fails the calls of os from number `first` (0 is the first) on, `times` times."""

    def __init__(self, first: int, error: BaseException, times: int = 1, *, then_crash: int | None = None) -> None:
        """`then_crash`: how many calls later the process is killed."""
        self.calls = 0
        self._failing = range(first, first + times)
        self._crash_at = None if then_crash is None else first + times + then_crash
        self._error = error
        self._durable: dict[int, int] = {}
        """The size of each file when it was last made durable, by inode."""

    @contextmanager
    def injected(self) -> Iterator[None]:
        """Patch os, for the length of the block."""
        with patch.multiple(os, **{name: self._faulty(name) for name in _CALLS}):
            yield

    def lose_power(self, *paths: Path) -> None:
        """Cut off what was written and not made durable."""
        for path in paths:
            if path.exists():
                found = path.stat()
                os.truncate(path, min(found.st_size, self._durable.get(found.st_ino, 0)))

    def _faulty(self, name: str) -> Any:
        call = getattr(os, name)

        def faulty(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self._crash_at is not None and self.calls > self._crash_at:
                raise CrashError
            if self.calls - 1 in self._failing:
                if name == "write":
                    call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                raise self._error
            if name in ("fdatasync", "fsync"):
                found = os.fstat(arguments[0])
                self._durable[found.st_ino] = found.st_size
                return None
            return call(*arguments, **options)

        return faulty
