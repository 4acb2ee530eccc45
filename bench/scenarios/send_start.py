"""Time from the start of `send` to the first byte of its request; modules are compiled, the API is on this host."""

import asyncio
import sys
import time

from bench.figures import Figure
from bench.harness import WITHOUT_DOTENV, BenchHarness
from bench.options import Options
from tests.kit.commands import MINIMAL, start
from tests.kit.processes import HOST

ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


async def run(_harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure every round but the first, which is a warm-up."""
    arrived_at: list[float] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        arrived_at.append(time.monotonic())
        await reader.readuntil(b"}")
        writer.write(ANSWER)
        writer.close()

    took_s = []
    async with await asyncio.start_server(accept, HOST, 0) as server:
        url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        env = {**MINIMAL, "API_URL": url, "SEND_ATTEMPTS": "1"}
        for _ in range(options.rounds + 1):
            began_at = time.monotonic()
            argv = [sys.executable, "-m", "peekaping_producer", "send", "--strict"]
            process = await start(argv, env, WITHOUT_DOTENV)
            _, err = await process.communicate()
            assert process.returncode == 0, err.decode()
            took_s.append(arrived_at.pop() - began_at)
    return [Figure("start of `send` to the first byte", "s", took_s[1:], required=0.4, target=0.3)]
