"""Servers with POST /produce: the product's, and peers."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.harness import Process
from bench.messages.commands import command, rabbitmq_environment
from bench.messages.rabbitmq import BenchBroker
from bench.peers import environment
from tests.kit import processes
from tests.kit.processes import free_port, listens
from tests.kit.waiting import until

FLASK = ("flask_waitress_pika",)
FLASK_PER_THREAD = ("flask_waitress_pika", "per-thread")
FASTAPI = ("fastapi_faststream",)
Peer = tuple[str, ...]
"""A module of bench/peers, and further arguments."""


@asynccontextmanager
async def serve(broker: BenchBroker) -> AsyncIterator[tuple[Process, int]]:
    """`peekaping-producer serve` on a free port."""
    port = free_port()
    settings = {**rabbitmq_environment(broker.target), "PORT": str(port)}
    with (
        processes.directory("peekaping-bench-") as directory,
        command(directory, settings, "peekaping_producer", "serve") as process,
    ):
        await until(lambda: listens(port), "serve accepts connections")
        yield process, port


@asynccontextmanager
async def peer(which: Peer, broker: BenchBroker) -> AsyncIterator[tuple[Process, int]]:
    """A peer on a free port; killed at the end of the block."""
    port, (name, *arguments) = free_port(), which
    script = environment.HERE / f"{name}.py"
    argv = [environment.python(), script, broker.url, broker.target.queue, str(port), *arguments]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        await until(lambda: listens(port), f"{name} accepts connections")
        yield process, port
    finally:
        process.kill()
        process.wait()
