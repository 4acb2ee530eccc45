"""A file that is locked while a process uses the files beside it."""

import fcntl
import os
from pathlib import Path

from peekaping_producer.errors import ConfigError


class LockFile:
    """The lock of `<path>.lock`, which stays when `path` is replaced. It is never deleted."""

    def __init__(self, path: Path, name: str) -> None:
        """`name`: what `path` is, in errors."""
        self._path = path
        self._name = name
        self._fd = -1

    def acquire(self) -> None:
        """Lock it for this process. Raises ConfigError if another process has, or if the directory is not writable."""
        lock = self._path.with_name(f"{self._path.name}.lock")
        try:
            self._fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise ConfigError(
                [f"{self._name}: expected no other process on {self._path}, got one that holds {lock}; stop it"]
            ) from None
        except OSError as error:
            self.release()
            problem = f"{self._name}: expected a writable directory for {lock}, got: {error.strerror}"
            raise ConfigError([problem]) from None

    def release(self) -> None:
        """Release the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
