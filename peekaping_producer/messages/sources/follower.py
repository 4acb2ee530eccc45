"""Follows a file through its rotations: the complete new lines of one generation after another. Blocking calls."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import structlog
from prometheus_client import Counter

from peekaping_producer.errors import SourceError
from peekaping_producer.messages.sources import generations
from peekaping_producer.messages.sources.checkpoint import Checkpoint
from peekaping_producer.messages.sources.generations import Found, NamesChangedError
from peekaping_producer.messages.sources.kinds import other_kind
from peekaping_producer.messages.sources.lines import READ_BYTES, Generation, Lines, LongLine

T = TypeVar("T")

log = structlog.stdlib.get_logger()


_ATTEMPTS = 100
"""To see the directory while no file in it is renamed."""


class Follower:
    """Returns the lines after a checkpoint, in their order, each once."""

    checkpoint: Checkpoint | None = None
    """Where the first call of `read` begins. Without one: at the beginning of the current file."""

    def __init__(self, path: Path, *, max_line_bytes: int, rotate_wait_s: float, lost: Counter) -> None:
        """`rotate_wait_s`: how long a rotated file must not have been written before the next one is read.

        `lost` counts how often unread lines, or generations that were not seen, may have been lost.
        """
        self._path = path
        self._max_line_bytes = max_line_bytes
        self._rotate_wait_s = rotate_wait_s
        self._lost = lost
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
        return self._retried(self._read)

    def pieces(self, line: LongLine) -> Iterator[bytes]:
        """Read the bytes of the line that `read` returned last; fewer if they have been lost. Raises SourceError."""
        generation = self.generation
        for start in range(line.start, line.start + line.size, READ_BYTES):
            size = min(READ_BYTES, line.start + line.size - start)
            piece = generation.read_at(start, size)
            if piece is None and self._retried(partial(self._continue_in_copy, generation)):
                piece = generation.read_at(start, size)
            if piece is None:
                return
            yield piece

    def _retried(self, look: Callable[[], T]) -> T:
        """Call a function that looks at the directory until no name has changed meanwhile."""
        try:
            for _ in range(_ATTEMPTS):
                with suppress(NamesChangedError):
                    return look()
        except OSError as error:
            raise SourceError(f"{self._path}: expected a readable file, got {error.strerror}") from error
        raise SourceError(f"{self._path}: expected names that stay, got files that are renamed all the time")

    def close(self) -> None:
        """Close the file."""
        if self._generation:
            self._generation.close()

    def _read(self) -> Lines | LongLine | None:
        if self._generation is None:
            self._generation = self._begin()
        while True:
            generation = self._generation
            is_rotated = self._is_rotated(generation)  # before the read, which then returns all until the rotation
            if item := self._read_lines(generation):
                return item
            if not generation.is_intact and self._continue_in_copy(generation):
                continue
            is_finished = is_rotated and self._is_quiet(generation.modified_ns)
            if generation.is_intact and not generation.is_empty and not is_finished:
                return None
            found = generations.generations_of(self._path)
            newer = generations.newer(generation, found)
            if not newer:
                return None
            file = self._first(newer)
            following = self._open(file, found) if file else None
            # Again: what was written to this file before the first byte of the next one.
            if item := self._read_lines(generation) or generation.take_remainder():
                if following:
                    following.close()
                return item
            if file is None or following is None:
                return None
            self._log_end(generation, file)
            generation.close()
            self._generation = following

    def _read_lines(self, generation: Generation) -> Lines | LongLine | None:
        if generation.is_empty:
            return None  # it only marks a position: it is opened again once it has a byte
        if item := generation.read():
            self._grown_at = time.monotonic()
        return item

    def _begin(self) -> Generation:
        """Open the place of the checkpoint, or the oldest generation after it."""
        checkpoint = self.checkpoint
        found = generations.generations_of(self._path)
        if checkpoint is None:
            newer = [file for file in found if file.is_current]
        elif place := generations.find(checkpoint, found):
            return self._resume(checkpoint, *place, found)
        else:
            newer = generations.after(found, checkpoint)
        if not newer:
            raise SourceError(f"{self._path}: expected a file, got none; it is read as soon as it exists")
        begun = self._open(self._first(newer) or newer[0], found)
        if checkpoint and checkpoint.head_bytes:
            self._lost.inc()
            log.warning(
                "source.generation_missing",
                message="The file of the checkpoint was deleted or overwritten; the next newer one is read.",
                path=str(self._path),
                offset=checkpoint.offset,
            )
        return begun

    def _resume(self, checkpoint: Checkpoint, file: Found, fd: int, found: list[Found]) -> Generation:
        generation = Generation(
            checkpoint.generation,
            fd,
            checkpoint.offset,
            older=generations.older(file, found),
            max_line_bytes=self._max_line_bytes,
        )
        try:
            if not checkpoint.matches(fd):
                raise NamesChangedError  # truncated since it was found
        except BaseException:  # whatever ends this: no descriptor is left
            generation.close()
            raise
        return generation

    def _open(self, file: Found, found: list[Found]) -> Generation:
        """Open a file and read its head; raise NamesChangedError if it was truncated or renamed before that."""
        generation = Generation(
            uuid4().hex, file.open(), older=generations.older(file, found), max_line_bytes=self._max_line_bytes
        )
        try:
            generations.confirm(self._path, found)
            if generation.is_empty and file.size:
                raise NamesChangedError
        except BaseException:  # whatever ends this: no descriptor is left
            generation.close()
            raise
        return generation

    def _continue_in_copy(self, generation: Generation) -> bool:
        """After a truncation: read the rest in the copy made before it (copytruncate); return whether there is one."""
        place = generations.find(generation.read_place, generations.generations_of(self._path))
        if place:
            generation.continue_in(place[1])
        return place is not None

    def _is_rotated(self, generation: Generation) -> bool:
        """Whether the followed name has another file now, or none."""
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return True  # its writer has not created the next one
        if kind := other_kind(named.st_mode):
            raise SourceError(f"{self._path}: expected a regular file, got {kind}")
        return named.st_ino != generation.inode

    def _first(self, newer: list[Found]) -> Found | None:
        """The first that is not empty; None if there is none, or if one before it may still get its first byte."""
        for file in newer:
            if file.size:
                return file
            if file.is_current or not self._is_quiet(file.modified_ns):
                return None
        return None

    def _is_quiet(self, modified_ns: int) -> bool:
        """Whether a rotated file has not been written for a while: its writer has opened the next one."""
        quiet_s = max(time.time() - modified_ns / 1e9, time.monotonic() - self._grown_at)
        return quiet_s >= self._rotate_wait_s

    def _log_end(self, generation: Generation, following: Found) -> None:
        if generation.is_empty:
            return
        if not generation.is_intact and not generation.is_copied:
            self._lost.inc()
            log.warning(
                "source.truncated",
                message="The file was truncated or overwritten, and no copy was found: unread lines are lost.",
                read_bytes=generation.offset,
                next=str(following.path),
            )
        elif generation.is_deleted and not following.is_current:
            self._lost.inc()
            log.warning(
                "source.generation_missing",
                message="Rotation deleted the file that was read; those between it and the next one may be lost.",
                path=str(self._path),
                offset=generation.offset,
                next=str(following.path),
            )
        else:
            log.info(
                "source.rotated",
                message="A generation of the file was read to its end; the next one is read.",
                bytes=generation.offset,
                next=str(following.path),
            )
