"""Writes messages through a file sink; reads and changes its output and its journal."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from peekaping_producer.errors import OutputUnavailableError
from peekaping_producer.messages.sinks.file import FileSink
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery

Batches = list[list[Delivery]]


def deliveries(*numbers: int) -> list[Delivery]:
    return [Delivery(Message(f"generation:{number}", f"line {number}".encode())) for number in numbers]


def lines(*numbers: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in numbers)


def content(path: Path) -> bytes:
    return path.read_bytes()


def replace_content(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def cut_off(path: Path, size: int) -> None:
    os.truncate(path, path.stat().st_size - size)


def rename(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def remove(path: Path) -> None:
    path.unlink()


def exists(path: Path) -> bool:
    return path.exists()


def journal(path: Path) -> Path:
    return path.with_name(f"{path.name}.journal")


@asynccontextmanager
async def opened(path: Path, *, dedup: bool = True, **options: Any) -> AsyncIterator[FileSink]:
    sink = FileSink(path, dedup=dedup, **options)
    await sink.open()
    try:
        yield sink
    finally:
        await sink.close()


async def write(path: Path, *batches: Sequence[int], **options: Any) -> None:
    async with opened(path, **options) as sink:
        for batch in batches:
            await sink.run(deliveries(*batch))


async def consume(sink: FileSink, batches: Batches) -> None:
    """Do as a consumer: acknowledge what is written, and repeat what is not."""
    while batches:
        try:
            await sink.run(batches[0])
        except OutputUnavailableError:
            continue
        del batches[0]
