"""The Go client that sends requests to the HTTP API."""

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from tests.kit import go
from tests.kit.processes import HOST

_MODULE = Path(__file__).parents[1] / "http_load"
_ACCEPTED, _REFUSED = "200", "503"


class Load(msgspec.Struct, frozen=True):
    """What the client measured."""

    seconds: float
    statuses: dict[str, int]
    produced: int
    """Messages whose requests were answered with 200."""
    p99_ms: float
    p99_refused_ms: float
    late: int
    """Requests that were due while all connections waited for answers."""

    @property
    def requests(self) -> int:
        """All requests."""
        return sum(self.statuses.values())

    @property
    def refused(self) -> int:
        """Requests that were answered with 503."""
        return self.statuses.get(_REFUSED, 0)


class LoadClient:
    """Each call has ids of its own."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary
        self._runs = itertools.count()

    async def run(self, port: int, *, connections: int, seconds: int, batch: int = 0, per_s: int = 0) -> Load:
        """Send requests; `batch`: messages of each, 0 for /produce; `per_s`: requests per second, 0 for all it can."""
        arguments = (f"{HOST}:{port}", f"run{next(self._runs)}", connections, seconds, batch, per_s)
        process = await asyncio.create_subprocess_exec(
            self._binary, *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, complaint = await process.communicate()
        assert process.returncode == 0, f"the load client: {complaint.decode()}"
        load = msgspec.json.decode(output, type=Load)
        assert load.statuses.keys() <= {_ACCEPTED, _REFUSED}, f"unexpected answers: {load.statuses}"
        return load


@asynccontextmanager
async def load_client() -> AsyncIterator[LoadClient]:
    """The client, compiled for the length of the block."""
    with tempfile.TemporaryDirectory() as directory:
        binary = Path(directory) / "http_load"
        await asyncio.to_thread(go.compile_to, binary, ".", _MODULE)
        yield LoadClient(binary)
