"""Which paths can be used: those of regular files."""

import os
import stat
from pathlib import Path

from peekaping_producer.errors import ConfigError

_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}


def other_kind(mode: int) -> str:
    """What a file with this mode is, in words; "" for a regular file."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "a device")


def check_path(path: Path, name: str = "file") -> None:
    """Raise ConfigError if `path` exists and cannot be used: no regular file, or not readable. `name`: in the error."""
    try:
        kind = other_kind(path.stat().st_mode)
        if not kind:
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError([f"{name}: expected a readable file, got {path}: {error.strerror}"]) from None
    if kind:
        raise ConfigError([f"{name}: expected a regular file, got {path}, {kind}"])
