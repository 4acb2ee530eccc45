"""Follows a file through its rotations: the complete new lines of one generation after another. Blocking calls."""

import os
import stat
import time
from pathlib import Path
from uuid import uuid4

import structlog

from peekaping_producer.errors import ConfigError, SourceError
from peekaping_producer.messages.sources import generations
from peekaping_producer.messages.sources.checkpoint import Checkpoint
from peekaping_producer.messages.sources.generations import Found
from peekaping_producer.messages.sources.lines import Generation, Lines, LongLine

log = structlog.stdlib.get_logger()


_RENAMING_S = 0.02
"""A file that is not found is looked for again: it may have been renamed while the directory was read."""


class Follower:
    """Returns the lines after a checkpoint, in their order, each once."""

    checkpoint: Checkpoint | None = None
    """Where the first call of `read` begins. Without one: at the beginning of the current file."""

    def __init__(self, path: Path, *, max_line_bytes: int, rotate_wait_s: float) -> None:
        """`rotate_wait_s`: how long a rotated file must not have been written before the next one is read."""
        self._path = path
        self._max_line_bytes = max_line_bytes
        self._rotate_wait_s = rotate_wait_s
        self._generation: Generation | None = None
        self._grown_at = time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether a file has been found."""
        return self._generation is not None

    @property
    def generation(self) -> Generation:
        """The generation of what `read` returned last."""
        if self._generation is None:
            raise SourceError(f"{self._path}: expected a file, got none")
        return self._generation

    def read(self) -> Lines | LongLine | None:
        """Return the next lines; None if there are none yet. Raises SourceError; the next call continues then."""
        try:
            return self._read()
        except OSError as error:
            raise SourceError(f"{self._path}: expected a readable file, got {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        if self._generation:
            self._generation.close()

    def _read(self) -> Lines | LongLine | None:
        if self._generation is None:
            self._generation = self._begin()
        while True:
            generation = self._generation
            if item := generation.read():
                self._grown_at = time.monotonic()
                return item
            if not generation.is_intact and self._continue_in_copy(generation):
                continue
            newer = self._newer(generation)
            if not newer:
                return None
            if item := generation.take_remainder():
                return item
            following = self._open(newer[0])
            if following is None:
                return None
            _log_end(generation, newer[0])
            generation.close()
            self._generation = following

    def _begin(self) -> Generation:
        """Open the place of the checkpoint, or the oldest generation after it."""
        if self.checkpoint is None:
            newer = [file for file in generations.generations_of(self._path) if file.is_current]
        elif place := self._find(self.checkpoint):
            checkpoint, (_, fd) = self.checkpoint, place
            return Generation(checkpoint.generation, fd, checkpoint.offset, max_line_bytes=self._max_line_bytes)
        else:
            newer = generations.after(generations.generations_of(self._path), None, self.checkpoint.modified_ns)
        begun = self._open(newer[0]) if newer else None
        if begun is None:
            raise SourceError(f"{self._path}: expected a file, got none; it is read as soon as it exists")
        if self.checkpoint and self.checkpoint.head_bytes:
            log.warning(
                "source.generation_missing",
                message="The file of the checkpoint was deleted or overwritten; the next newer one is read.",
                path=str(self._path),
                offset=self.checkpoint.offset,
            )
        return begun

    def _find(self, checkpoint: Checkpoint) -> tuple[Found, int] | None:
        place = generations.find(checkpoint, generations.generations_of(self._path))
        if place or not checkpoint.head_bytes:
            return place
        time.sleep(_RENAMING_S)
        return generations.find(checkpoint, generations.generations_of(self._path))

    def _open(self, file: Found) -> Generation | None:
        fd = file.open()
        return None if fd is None else Generation(uuid4().hex, fd, max_line_bytes=self._max_line_bytes)

    def _continue_in_copy(self, generation: Generation) -> bool:
        """After a truncation: read the rest in the copy made before it (copytruncate); return whether there is one."""
        place = self._find(generation.read_place)
        if place:
            generation.continue_in(place[1])
        return place is not None

    def _newer(self, generation: Generation) -> list[Found]:
        """The generations after one that is finished; none while it may still grow. The oldest is first."""
        if generation.is_intact:
            try:
                named = os.stat(self._path)
                if named.st_ino == generation.inode:
                    return []
                if not stat.S_ISREG(named.st_mode):
                    raise SourceError(f"{self._path}: expected a regular file, got {_kind(named.st_mode)}")
            except FileNotFoundError:
                pass  # it was rotated, and its writer has not created the next one
            newer = generations.after(generations.generations_of(self._path), generation.inode, generation.modified_ns)
            return newer if self._is_quiet(generation) else []
        return generations.after(generations.generations_of(self._path), None, generation.modified_ns)

    def _is_quiet(self, generation: Generation) -> bool:
        """Whether a rotated file has not been written for a while: its writer has opened the next one."""
        quiet_s = max(time.time() - generation.modified_ns / 1e9, time.monotonic() - self._grown_at)
        return quiet_s >= self._rotate_wait_s


def _log_end(generation: Generation, following: Found) -> None:
    if generation.is_intact:
        log.info(
            "source.rotated",
            message="A generation of the file was read to its end; the next one is read.",
            bytes=generation.offset,
            next=str(following.path),
        )
    else:
        log.warning(
            "source.truncated",
            message="The file was truncated or overwritten, and no copy was found: unread lines are lost.",
            read_bytes=generation.offset,
            next=str(following.path),
        )


def check_path(path: Path) -> None:
    """Raise ConfigError if `path` exists and cannot be followed: no regular file, or not readable."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError([f"file: expected a readable file, got {path}: {error.strerror}"]) from None
    raise ConfigError([f"file: expected a regular file, got {path}, {_kind(mode)}"])


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
