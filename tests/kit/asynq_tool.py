"""asynq's own client, Inspector and server, in a Go program: tests/conformance/asynq_consumer/tool."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from tests.kit.waiting import until

PATIENCE_S = 60


class Tool:
    """Runs the program against one server."""

    def __init__(self, binary: Path, port: int) -> None:
        self._argv = [str(binary), "-redis", f"127.0.0.1:{port}"]
        self.port = port

    async def enqueue(self, *tasks: dict[str, Any]) -> None:
        """See `order` in main.go for the fields of a task."""
        await self.run("enqueue", standard_input="\n".join(json.dumps(task) for task in tasks))

    async def inspect(self, queue: str) -> Any:
        return json.loads(await self.run("inspect", queue))

    async def run(self, *arguments: object, standard_input: str = "") -> bytes:
        process = await asyncio.create_subprocess_exec(
            *self._argv, *map(str, arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        async with asyncio.timeout(PATIENCE_S):
            output, complaint = await process.communicate(standard_input.encode())
        assert process.returncode == 0, complaint.decode()
        return output

    async def go_worker(self, queue: str, concurrency: int) -> "WorkerProcess":
        return await WorkerProcess.start(*self._argv, "work", queue, str(concurrency))

    async def python_worker(self, queue: str, concurrency: int) -> "WorkerProcess":
        module = "tests.kit.asynq_worker_process"
        return await WorkerProcess.start(sys.executable, "-m", module, str(self.port), queue, str(concurrency))


class Run(msgspec.Struct):
    """One run of a task, in µs since the epoch."""

    began: int
    ended: int | None = None
    """None: it runs, or its process was killed."""
    killed: int | None = None


class WorkerProcess:
    """A worker that reports its runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.runs: list[tuple[str, Run]] = []
        self._current: dict[str, Run] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, *argv: str) -> "WorkerProcess":
        process = await asyncio.create_subprocess_exec(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return cls(process)

    @property
    def running(self) -> list[str]:
        """Ids of the tasks that it runs."""
        return [task_id for task_id, run in self._current.items() if run.ended is None]

    async def _read(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "began":
                run = self._current[event["id"]] = Run(event["at"])
                self.runs.append((event["id"], run))
            else:
                self._current[event["id"]].ended = event["at"]

    async def kill(self) -> None:
        """SIGKILL. What it printed before has been read afterwards."""
        self.process.kill()
        await self.process.wait()
        await self._reading
        now = time.time_ns() // 1000
        for run in self._current.values():
            if run.ended is None:
                run.killed = now

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
        await self._reading
        return code

    async def until_running(self, number: int) -> None:
        await until(lambda: len(self.running) >= number, f"{number} runs")
