"""Runs commands of the product that end by themselves."""

import asyncio
import json
import os
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peekaping_producer.targets import RedisTarget

ROOT = Path(__file__).parents[2]
MINIMAL = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "MODE": "prod", "UI_ADDR": "off"}
"""An environment for the code of this checkout, without the variables of this shell."""
SECRET = "h0rse battery/staple"
"""No output may contain it: tests look for its first word, which no escaping changes."""


@dataclass(frozen=True)
class CommandResult:
    """A command that has ended."""

    code: int
    out: str
    err: str


def settings_of(redis: RedisTarget, **settings: str) -> dict[str, str]:
    return {"REDIS_HOST": redis.host, "REDIS_PORT": str(redis.port), **settings}


async def start(argv: Sequence[str | Path], env: Mapping[str, str], folder: Path | None = None) -> Process:
    """Start any command, with pipes for its output."""
    return await asyncio.create_subprocess_exec(
        *argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


async def run(argv: Sequence[str | Path], env: Mapping[str, str], folder: Path | None = None) -> CommandResult:
    """Run any command to its end, which must come within 120 s: a dozen that start together take their time."""
    process = await start(argv, env, folder)
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    return CommandResult(process.returncode or 0, out.decode(), err.decode())


async def command(folder: Path, *words: str, **settings: str) -> CommandResult:
    """Run `peekaping-producer WORDS` in `folder`, with these settings alone. Fails where it prints a traceback."""
    ended = await run([sys.executable, "-m", "peekaping_producer", *words], {**MINIMAL, **settings}, folder)
    assert "Traceback" not in ended.err + ended.out, ended.err
    return ended


async def status(folder: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """The document that `status --json` prints."""
    document: dict[str, Any] = json.loads((await command(folder, "status", "--json", **env)).out)
    return document
