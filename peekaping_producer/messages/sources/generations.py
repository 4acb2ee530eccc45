"""Finds the generations of a rotated file: the file itself, and those beside it that it has been renamed or copied to.

A generation beside it is named as logrotate and Python's logging name them: `NAME.1` (2 is older), `NAME-20260131`,
`NAME.2026-01-31`. The names are the order; times are compared only where numbers and dates are mixed.
"""

import os
import re
import stat
from pathlib import Path

import msgspec

from peekaping_producer.messages.sources.checkpoint import Checkpoint
from peekaping_producer.messages.sources.lines import Generation

_MAX_NUMBER_DIGITS = 5
"""A suffix of more digits is a date."""
_MAX_OLDER = 64
"""So many files are stored as older than a generation; one of them is enough to find its position."""


class NamesChangedError(Exception):
    """Files were renamed, created or deleted while they were looked for: read the directory again."""


class Found(msgspec.Struct, frozen=True):
    """A regular file that may be a generation."""

    path: Path
    inode: int
    size: int
    modified_ns: int
    is_current: bool
    """Whether it has the name that is followed; otherwise a suffix."""

    @property
    def identity(self) -> tuple[int, int]:
        """Inode and time of the last write. Equal: the same file, even if a new file has got the inode of another."""
        return self.inode, self.modified_ns

    def open(self) -> int:
        """Return a file descriptor. Raises OSError, or NamesChangedError if the name has another file now."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise NamesChangedError from None
        if os.fstat(fd).st_ino == self.inode:
            return fd
        os.close(fd)
        raise NamesChangedError


def generations_of(path: Path) -> list[Found]:
    """Return all files that may be generations of `path`, the oldest first, `path` itself last.

    Raises OSError, or NamesChangedError.
    """
    found = _scan(path)
    confirm(path, found)
    return found


def confirm(path: Path, found: list[Found]) -> None:
    """Raise NamesChangedError unless the names still have the files that were found.

    A file that is renamed while a directory is read may be missed. Rotation only moves files on to older names, so two
    equal results are complete.
    """
    if [(file.path, file.inode) for file in _scan(path)] != [(file.path, file.inode) for file in found]:
        raise NamesChangedError


def _scan(path: Path) -> list[Found]:
    path = Path(os.path.realpath(path))  # Path.resolve() raises RuntimeError for links in a circle
    pattern = re.compile(re.escape(path.name) + r"[.\-_](\d[\d.\-_:T]*)")
    rotated = []
    for name in os.listdir(path.parent):
        if (suffix := pattern.fullmatch(name)) and (found := _find(path.with_name(name), is_current=False)):
            rotated.append((suffix[1], found))
    current = _find(path, is_current=True)
    return [*_oldest_first(rotated), *([current] if current else [])]


def _find(path: Path, *, is_current: bool) -> Found | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Found(path, status.st_ino, status.st_size, status.st_mtime_ns, is_current)


def _oldest_first(rotated: list[tuple[str, Found]]) -> list[Found]:
    """Order by numbers or by dates; if there are both, by the time of the last write."""
    numbers: list[tuple[str, Found]] = []
    dates: list[tuple[str, Found]] = []
    for item in rotated:
        is_number = item[0].isdigit() and len(item[0]) <= _MAX_NUMBER_DIGITS
        (numbers if is_number else dates).append(item)
    dates.sort(key=lambda item: item[0])
    numbers.sort(key=lambda item: -int(item[0]))
    files = [found for _, found in (*dates, *numbers)]
    return sorted(files, key=lambda file: file.modified_ns) if numbers and dates else files


def find(place: Checkpoint, found: list[Found]) -> tuple[Found, int] | None:
    """Return the file that contains `place`, open; None if there is none. Raises OSError, or NamesChangedError.

    That is the file with the same inode, or its copy: the oldest newer one that has a suffix.
    """
    if not place.head_bytes:
        return None  # nothing was read, so nothing identifies the file: its inode may be that of another
    same = [file for file in found if file.inode == place.inode]
    copies = [file for file in after(found, place) if not file.is_current]
    for file in (*same, *copies):
        fd = file.open()
        try:
            if place.matches(fd):
                return file, fd
        except OSError:  # the file cannot be read; the caller tries again, perhaps for days
            os.close(fd)
            raise
        os.close(fd)
    return None


def after(found: list[Found], place: Checkpoint) -> list[Found]:
    """Return the files that are not known to be older than the generation of `place`: its own and newer ones.

    Rotation deletes the oldest files first: if none is left that was older, all are newer.
    """
    known = [index for index, file in enumerate(found) if file.identity in place.older]
    return found[known[-1] + 1 :] if known else found


def older(file: Found, found: list[Found]) -> tuple[tuple[int, int], ...]:
    """Return the identities of the files before one, as a checkpoint contains them."""
    return tuple(before.identity for before in found[: found.index(file)][-_MAX_OLDER:])


def newer(generation: Generation, found: list[Found]) -> list[Found]:
    """Return the files after a generation that has no more lines, the oldest first.

    Raises OSError, or NamesChangedError.
    """
    if generation.is_intact and not generation.is_empty:  # otherwise its file has other lines now
        inodes = [file.inode for file in found]
        if generation.inode in inodes:
            return found[inodes.index(generation.inode) + 1 :]
    files = after(found, generation.read_place)
    if not generation.is_intact and files and _is_read(files[0], generation):
        generation.is_copied = True
        return files[1:]
    return files


def _is_read(file: Found, generation: Generation) -> bool:
    """Whether a file is a copy of a truncated one from before its last lines, which were read, were written."""
    if file.is_current:
        return False
    fd = file.open()
    try:
        return generation.includes(fd)
    finally:
        os.close(fd)
