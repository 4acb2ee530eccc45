"""Reads a file as its source does, and rotates it as logrotate does."""

import os
import shutil
from pathlib import Path

from prometheus_client import CollectorRegistry

from peekaping_producer.messages.metrics import RelayMetrics
from peekaping_producer.messages.sources.checkpoint import Checkpoint
from peekaping_producer.messages.sources.follower import Follower
from peekaping_producer.messages.sources.lines import Lines


class Reader:
    """Reads a file as its source does, one call after another."""

    def __init__(self, path: Path, rotate_wait_s: float = 0.0) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self._registry = CollectorRegistry()
        self._lost = RelayMetrics(self._registry).source_losses
        self._rotate_wait_s = rotate_wait_s
        self.start()

    def start(self, checkpoint: Checkpoint | None = None) -> None:
        self.follower = Follower(self.path, max_line_bytes=100, rotate_wait_s=self._rotate_wait_s, lost=self._lost)
        self.follower.checkpoint = checkpoint

    def restart(self) -> None:
        """As after a kill: all that was read is settled."""
        checkpoint = self.follower.generation.place
        self.follower.close()
        self.start(checkpoint)

    def read(self) -> list[bytes]:
        """Return all lines up to now."""
        while item := self.follower.read():
            assert isinstance(item, Lines)
            self.lines += item.lines
        return self.lines

    @property
    def losses(self) -> float | None:
        return self._registry.get_sample_value("peekaping_producer_source_losses_total")


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
    os.utime(path, (1, 1))  # no order can be derived from times: all files are of one tick of the clock


def free_name(path: Path) -> Path:
    """Move the older files on, as logrotate does."""
    for number in range(9, 0, -1):
        if (old := path.with_name(f"{path.name}.{number}")).exists():
            old.rename(path.with_name(f"{path.name}.{number + 1}"))
    return path.with_name(f"{path.name}.1")


def rotate(path: Path) -> Path:
    rotated = free_name(path)
    path.rename(rotated)
    path.touch()
    os.utime(path, (1, 1))
    return rotated


def copy(path: Path) -> Path:
    name = free_name(path)
    shutil.copyfile(path, name)
    os.utime(name, (1, 1))
    return name


def copy_and_truncate(path: Path) -> None:
    copy(path)
    os.truncate(path, 0)
    os.utime(path, (1, 1))
