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

FLASK = "flask_waitress_pika"
FASTAPI = "fastapi_faststream"


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
async def peer(name: str, broker: BenchBroker) -> AsyncIterator[tuple[Process, int]]:
    """A module of bench/peers on a free port; killed at the end of the block."""
    port = free_port()
    argv = [environment.python(), environment.HERE / f"{name}.py", broker.url, broker.target.queue, str(port)]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        await until(lambda: listens(port), f"{name} accepts connections")
        yield process, port
    finally:
        process.kill()
        process.wait()
