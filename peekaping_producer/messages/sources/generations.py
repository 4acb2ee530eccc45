"""Finds the generations of a rotated file: the file itself, and those beside it that it has been renamed or copied to.

A generation beside it is named as logrotate and Python's logging name them: `NAME.1` (2 is older), `NAME-20260131`,
`NAME.2026-01-31`.
"""

import os
import re
from pathlib import Path

import msgspec

from peekaping_producer.messages.sources.checkpoint import Checkpoint

_MAX_NUMBER_DIGITS = 5
"""A suffix of more digits is a date."""


class Found(msgspec.Struct, frozen=True):
    """A regular file that may be a generation."""

    path: Path
    inode: int
    modified_ns: int
    is_current: bool
    """Whether it has the name that is followed; otherwise a suffix."""

    def open(self) -> int | None:
        """Return a file descriptor; None if the name has changed its file since. Raises OSError."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        if os.fstat(fd).st_ino == self.inode:
            return fd
        os.close(fd)
        return None


def generations_of(path: Path) -> list[Found]:
    """Return all files that may be generations of `path`, the oldest first, `path` itself last. Raises OSError."""
    path = Path(os.path.realpath(path))  # Path.resolve() raises RuntimeError for links in a circle
    pattern = re.compile(re.escape(path.name) + r"[.\-_](\d[\d.\-_:T]*)")
    rotated = []
    with os.scandir(path.parent) as entries:
        for entry in entries:
            if (suffix := pattern.fullmatch(entry.name)) and (found := _find(Path(entry.path), is_current=False)):
                rotated.append((suffix[1], found))
    current = _find(path, is_current=True)
    return [*_oldest_first(rotated), *([current] if current else [])]


def _find(path: Path, *, is_current: bool) -> Found | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    if not path.is_file():
        return None
    return Found(path, stat.st_ino, stat.st_mtime_ns, is_current)


def _oldest_first(rotated: list[tuple[str, Found]]) -> list[Found]:
    """Order by the suffixes if all are numbers, or all are dates; otherwise by the time of the last write."""
    are_numbers = {suffix.isdigit() and len(suffix) <= _MAX_NUMBER_DIGITS for suffix, _ in rotated}
    if are_numbers == {True}:
        rotated.sort(key=lambda item: -int(item[0]))
    elif are_numbers == {False}:
        rotated.sort(key=lambda item: item[0])
    else:
        rotated.sort(key=lambda item: item[1].modified_ns)
    return [found for _, found in rotated]


def find(checkpoint: Checkpoint, found: list[Found]) -> tuple[Found, int] | None:
    """Return the file that contains the place of `checkpoint`, open; None if there is none. Raises OSError.

    That is the file with the same inode, or a copy: the newest that has a suffix and was written later.
    """
    if not checkpoint.head_bytes:
        return None  # nothing was read, so nothing identifies the file: its inode may be that of another
    same = [file for file in found if file.inode == checkpoint.inode]
    later = [file for file in found if not file.is_current and file.modified_ns >= checkpoint.modified_ns]
    for file in (*same, *reversed(later)):
        fd = file.open()
        if fd is not None:
            if checkpoint.matches(fd):
                return file, fd
            os.close(fd)
    return None


def after(found: list[Found], inode: int | None, modified_ns: int) -> list[Found]:
    """Return the generations that are newer than the one in the file `inode`, the oldest first.

    If that file is not found, or is None, those that were written after `modified_ns`, and the current file.
    """
    places = [index for index, file in enumerate(found) if file.inode == inode]
    if places:
        return found[places[-1] + 1 :]
    return [file for file in found if file.is_current or file.modified_ns > modified_ns]
