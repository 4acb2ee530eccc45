"""Compares what was sent with what arrived. Each call reads only what is new in the files."""

from collections import Counter
from pathlib import Path

from peekaping_producer.demo.messages.clients import ApiClients
from peekaping_producer.demo.messages.lines import LineWriter


class Tally:
    """Counts of both systems, and the verdict."""

    def __init__(self, writer: LineWriter, clients: ApiClients, *, sent: Path, output: Path, handled: Path) -> None:
        """`sent`, `output`: both ends of the file pipeline. `handled`: the ids of the messages that were handled."""
        self.arrived = 0
        """Lines of the output."""
        self.equal = True
        """Whether the output is byte for byte the beginning of the input."""
        self._writer = writer
        self._clients = clients
        self._sent, self._output, self._handled = _Growing(sent), _Growing(output), _Growing(handled)
        self._calls: Counter[str] = Counter()
        """Calls of the handler by message id."""

    def read(self) -> None:
        """Count what is new. Raises OSError."""
        new = self._output.read_lines()
        self.arrived += new.count(b"\n")
        self.equal = self.equal and new == self._sent.read(len(new))
        self._calls.update(self._handled.read_lines().decode().split())

    @property
    def written(self) -> int:
        """Lines of the input."""
        return self._writer.lines

    @property
    def accepted(self) -> int:
        """Messages that the API answered with 200."""
        return len(self._clients.answered)

    @property
    def repeated(self) -> int:
        """Attempts of requests that failed, and were repeated."""
        return self._clients.repeated

    @property
    def handled(self) -> int:
        """Messages for which the handler was called."""
        return len(self._calls)

    @property
    def doubled(self) -> int:
        """Calls of the handler beyond the first one for a message."""
        return self._calls.total() - len(self._calls)

    @property
    def lost(self) -> int:
        """Accepted messages that were not handled, yet."""
        return len(self._clients.answered - self._calls.keys())

    @property
    def is_complete(self) -> bool:
        """Whether all that was sent has arrived."""
        return self.arrived >= self.written and not self.lost

    @property
    def passed(self) -> bool:
        """Whether the output equals the input, and no message is lost."""
        return self.equal and self.arrived == self.written and not self.lost


class _Growing:
    """A file that another process appends to; it may not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, up to `size`."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(size)
        except FileNotFoundError:
            return b""
        self._offset += len(data)
        return data

    def read_lines(self) -> bytes:
        """Return the next whole lines."""
        data = self.read()
        whole = data.rfind(b"\n") + 1
        self._offset -= len(data) - whole
        return data[:whole]
