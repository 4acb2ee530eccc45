"""The editor, where a fault has deleted some of its rows."""

import random
from pathlib import Path
from typing import Any, cast

from redis.asyncio import Redis

from tests.chaos.editor import Editor
from tests.chaos.history import Recorder
from tests.chaos.timing import SHORT
from tests.kit.databases import Row, SqlDatabase


class StatementRecorder:
    """A database that only records its statements."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    async def insert(self, _: str, *__: Row) -> None: ...

    async def execute(self, statement: str) -> None:
        self.statements.append(statement)


def no_redis() -> Redis:
    raise AssertionError("nothing is published")


async def test_rows_are_deleted_although_some_are_gone(tmp_path: Path) -> None:
    rows: Any = StatementRecorder()
    with Recorder(tmp_path / "history.jsonl") as recorder:
        editor = Editor(cast(SqlDatabase, rows), no_redis, recorder, random.Random(1), SHORT)
        ids = await editor.create(3)
        await editor.delete(ids[:1])
        await editor.delete(ids)
    assert editor.running() == set()
    assert ids[0] not in rows.statements[-1]
    assert all(each in rows.statements[-1] for each in ids[1:])
