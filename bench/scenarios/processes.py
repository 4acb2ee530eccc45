"""Commands a second of the pool of worker processes, relative to a ProcessPoolExecutor of the same size.

The handler is json.dumps of a small command. Both start by spawn, are warm, and take turns; each reply is checked.
"""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from bench.figures import Figure
from bench.harness import BenchHarness
from bench.options import Options
from peekaping_producer.processes import Pool

PROCESSES = 2
COMMANDS = 10_000
CALLERS = (64, 1)
Call = Callable[[dict[str, Any]], Awaitable[Any]]


async def run(_harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure many callers, and one that waits for each reply."""
    figures = []
    context = multiprocessing.get_context("spawn")
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as executor:
        async with Pool("json:dumps", processes=PROCESSES) as pool:
            for callers in CALLERS:
                ours, theirs = [], []
                for _ in range(options.rounds):
                    ours.append(await _rate(pool.call, callers))
                    theirs.append(await _rate(lambda each: loop.run_in_executor(executor, json.dumps, each), callers))
                ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
                name = "1 caller" if callers == 1 else f"{callers} callers"
                figures += [
                    Figure(f"pool / Executor, {name}", "x", ratios, better="higher", required=1.0, target=1.5),
                    Figure(f"pool, {name}", "commands/s", ours, better="higher"),
                ]
    return figures


async def _rate(call: Call, callers: int) -> float:
    """Commands a second, after a few that start the processes."""
    await _execute(call, callers, COMMANDS // 10)
    began_at = time.perf_counter()
    await _execute(call, callers, COMMANDS)
    return COMMANDS / (time.perf_counter() - began_at)


async def _execute(call: Call, callers: int, count: int) -> None:
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            command = {"command": "measure", "arguments": [number]}
            assert await call(command) == json.dumps(command)

    await asyncio.gather(*(caller() for _ in range(callers)))
