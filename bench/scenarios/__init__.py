"""One module for each scenario: `async def run(harness, options) -> list[Figure]`, which checks what it counts."""

from collections.abc import Awaitable, Callable

from bench.figures import Figure
from bench.harness import BenchHarness
from bench.options import Options
from bench.scenarios import (
    api,
    append_latency,
    asynq_consumer,
    cold,
    failover,
    file_asynq,
    file_rabbitmq,
    growth,
    herd,
    idle,
    lateness,
    memory,
    page,
    poison,
    processes,
    rabbitmq_file,
    relay_memory,
    replicas,
    send_start,
    spreading,
    start,
    sweep,
    switching,
    sync,
    throughput,
)

Scenario = Callable[[BenchHarness, Options], Awaitable[list[Figure]]]

DEFAULT: dict[str, Scenario] = {
    "throughput": throughput.run,
    "replicas": replicas.run,
    "lateness": lateness.run,
    "spreading": spreading.run,
    "herd": herd.run,
    "cold": cold.run,
    "idle": idle.run,
    "sync": sync.run,
    "failover": failover.run,
    "memory": memory.run,
    "page": page.run,
    "start": start.run,
    "poison": poison.run,
    "processes": processes.run,
    "file_rabbitmq": file_rabbitmq.run,
    "rabbitmq_file": rabbitmq_file.run,
    "file_asynq": file_asynq.run,
    "asynq_consumer": asynq_consumer.run,
    "api": api.run,
    "append_latency": append_latency.run,
    "relay_memory": relay_memory.run,
    "send_start": send_start.run,
}
"""The rows of docs/performance.md."""
FURTHER: dict[str, Scenario] = {"growth": growth.run, "sweep": sweep.run, "switching": switching.run}
"""Run only by name: they take long."""
