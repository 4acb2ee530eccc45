"""Writes the input of the file pipeline."""

import asyncio
import time
from pathlib import Path

_LINES = 20
_EVERY_S = 0.1


class LineWriter:
    """Appends lines to a file, as a service appends to its log."""

    def __init__(self, path: Path) -> None:
        self.lines = 0
        """How many were written."""
        self._path = path

    async def run(self) -> None:
        """Write 20 lines every 0.1 s until canceled. Raises OSError."""
        with self._path.open("ab", buffering=0) as file:
            while True:
                now = time.strftime("%Y-%m-%dT%H:%M:%S")
                first = self.lines + 1
                file.write(b"".join(b"%s request %d\n" % (now.encode(), first + n) for n in range(_LINES)))
                self.lines += _LINES
                await asyncio.sleep(_EVERY_S)
