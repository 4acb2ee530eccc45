"""The commands of a page of the docs, run in shells as a reader does, and the output that the page shows."""

import asyncio
import os
import re
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Mapping
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```bash\n(.*?)^```\n(?:```(?:text|json)\n(.*?)^```)?", re.DOTALL | re.MULTILINE)


class Block(msgspec.Struct, frozen=True):
    """A block of commands, and the output below it; empty if the page shows none."""

    commands: str
    output: str


def blocks(page: str) -> list[Block]:
    """The blocks of docs/`page`, in order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [Block(commands, output) for commands, output in _BLOCK.findall(text)]


class Terminal:
    """A shell in `folder`, in which `peekaping-producer` is this checkout. Stdout and stderr are one stream."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        programs = folder / "bin"
        programs.mkdir(exist_ok=True)
        program = programs / "peekaping-producer"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m peekaping_producer "$@"\n')
        program.chmod(0o755)
        self._folder = folder
        self._env = {**env, "PATH": f"{programs}:{env['PATH']}"}

    async def start(self, commands: str) -> Process:
        """Start a block that does not end by itself. Its processes are one group, for `stop`."""
        return await asyncio.create_subprocess_exec(
            *("bash", "-e", "-c", commands),
            cwd=self._folder,
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )

    async def run(self, commands: str, within_s: float = 120.0) -> str:
        """Run a block to its end, which must be a success; returns its output."""
        process = await self.start(commands)
        async with asyncio.timeout(within_s):
            out, _ = await process.communicate()
        assert process.returncode == 0, f"{commands}\n{out.decode()}"
        return out.decode()


async def stop(process: Process) -> None:
    """End a command as Ctrl-C does."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGINT)
    await process.wait()
