"""How far a file has been read and confirmed, in a file beside it that survives a power loss."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from peekaping_producer.errors import CheckpointError, ConfigError
from peekaping_producer.messages.durability import replace_file
from peekaping_producer.messages.lock_file import LockFile

log = structlog.stdlib.get_logger()

HEAD_BYTES = 1024
"""So many first bytes identify a generation, or all that it had when the checkpoint was written."""
TAIL_BYTES = 64
"""So many bytes before the offset are compared too."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A place in a generation: one file from its creation, or its truncation, to the next."""

    generation: str
    """The UUID of the generation: the first part of its ids."""
    inode: int
    offset: int
    """All bytes before it are settled."""
    head_bytes: int
    head: str
    """The hash of the first `head_bytes`."""
    tail_bytes: int
    tail: str
    """The hash of the last `tail_bytes` before the offset."""
    older: tuple[tuple[int, int], ...] = ()
    """The files that were older when the generation was opened: inode and time of the last write (ns), the newest last.
    They give its position where the file itself is gone."""

    def matches(self, fd: int) -> bool:
        """Whether an open file has the same head and the same bytes before the offset."""
        return (
            digest(os.pread(fd, self.head_bytes, 0)) == self.head
            and digest(os.pread(fd, self.tail_bytes, self.offset - self.tail_bytes)) == self.tail
            and os.fstat(fd).st_size >= self.offset
        )


def digest(data: bytes) -> str:
    """The hash of bytes of a file; the bytes themselves may be secret."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class CheckpointFile:
    """The checkpoint on disk: replaced as a whole, kept with the previous one, and locked while a process uses it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._previous = path.with_name(f"{path.name}.previous")
        self._new = path.with_name(f"{path.name}.new")
        self._lock = LockFile(path, "checkpoint")

    def lock(self) -> None:
        """Lock it for this process. Raises ConfigError if another process has, or if the directory is not writable."""
        self._lock.acquire()

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def load(self) -> Checkpoint | None:
        """Return the newest readable copy; None if there has never been one. Raises ConfigError if none is readable."""
        problems = []
        for path in (self._path, self._previous):
            try:
                checkpoint = _decode(path.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                problems.append(f"{path}: {error}")
                continue
            if problems:
                log.warning(
                    "checkpoint.damaged",
                    message="The checkpoint is damaged; the previous one is used, and some lines are sent again.",
                    error=problems[0],
                )
                with suppress(OSError):  # otherwise the next checkpoint would move it over the good copy
                    self._path.replace(self._path.with_name(f"{self._path.name}.damaged"))
            return checkpoint
        if problems:
            raise ConfigError(
                [
                    f"checkpoint: expected a readable file, got {'; '.join(problems)}; "
                    "restore it, or delete all copies to send the file from its beginning"
                ]
            )
        return None

    def store(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; it is on disk when this returns. Raises CheckpointError."""
        text = msgspec.json.encode(checkpoint)
        try:
            data = text + b"\n" + digest(text).encode() + b"\n"
            replace_file(self._path, self._new, data, previous=self._previous)
        except OSError as error:
            raise CheckpointError(f"{self._path} cannot be written: {error.strerror}") from error


def _decode(data: bytes) -> Checkpoint:
    text, _, rest = data.partition(b"\n")
    if rest.strip().decode("ascii", "replace") != digest(text):
        raise ValueError("the content does not match its checksum")
    return msgspec.json.decode(text, type=Checkpoint)
