"""Writes that are on disk when they return."""

import errno
import os
import stat
import sys
from pathlib import Path


def open_to_append(path: Path, mode: int) -> int:
    """Open a regular file, or create it with `mode`; its name is then on disk. Returns a descriptor; raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, mode)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):  # to read a FIFO would take forever
            raise OSError(errno.EINVAL, "it is no regular file")
        sync_directory(path.parent)
    except OSError:
        os.close(fd)
        raise
    return fd


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`. Raises OSError; a part may have been written then."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def is_named(fd: int, path: Path) -> bool:
    """Whether `path` is still a name of an open file: it was not renamed, replaced or deleted. Raises OSError."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def check_not_deleted(fd: int) -> None:
    """Raise OSError if an open file has no name left: what was written to it is lost."""
    if os.fstat(fd).st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, "the file was deleted while it was written")


def sync_data(fd: int) -> None:
    """Make the content of a file durable, and its size."""
    if sys.platform == "linux":
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, new: Path, data: bytes, *, previous: Path) -> None:
    """Write `data` to `new`, and rename it to `path`, which becomes `previous`."""
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    if path.exists():
        path.replace(previous)
    new.replace(path)
    sync_directory(path.parent)
