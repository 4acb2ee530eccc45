"""Statements that a store sends, and the plans of the database for them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

# An automatic index and a bloom filter are built from all rows.
_WHOLE_TABLE = re.compile(r"(?:SCAN|BLOOM FILTER ON|SEARCH(?=.* AUTOMATIC)) (?!.*VIRTUAL TABLE|CONSTANT)(\w+)")


class Statement(NamedTuple):
    """Text and arguments, as passed to the driver."""

    text: str
    arguments: tuple[Any, ...]


class QueryPlan(NamedTuple):
    """How the database executed one statement."""

    kind: str
    lines: list[str]
    rows_read: int
    """Rows of tables and indexes that were read, whether or not the result contains them; sqlite: a lower bound."""


@contextmanager
def recorded(driver: type, method: str) -> Iterator[list[Statement]]:
    """Record the statements that a method of the driver executes during the block."""
    original = getattr(driver, method)
    statements: list[Statement] = []

    async def run(self: Any, text: str, *arguments: Any, **options: Any) -> Any:
        statements.append(Statement(text, arguments))
        return await original(self, text, *arguments, **options)

    with patch.object(driver, method, run):
        yield statements


def postgres_plan(kind: str, root: dict[str, Any]) -> QueryPlan:
    """From the Plan that EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) gives."""
    lines, rows_read = [], 0
    for depth, node in _nodes(root):
        loops = node["Actual Loops"]
        filtered = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        read = round((node["Actual Rows"] + filtered) * loops)
        if "Relation Name" in node or "Index Name" in node:
            rows_read += read
        where = [node["Relation Name"]] if "Relation Name" in node else []
        where += [f"using {node['Index Name']}"] if "Index Name" in node else []
        pages = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
        what = " ".join([node["Node Type"], *where])
        lines.append(f"{'  ' * depth}{what}: {read:,} rows in {loops:,} loops, {pages:,} pages")
    return QueryPlan(kind, lines, rows_read)


def _nodes(node: dict[str, Any], depth: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    yield depth, node
    for child in node.get("Plans", []):
        yield from _nodes(child, depth + 1)


def sqlite_plan(rows: list[tuple[int, int, int, str]], statement: str) -> tuple[list[str], list[str]]:
    """The lines of EXPLAIN QUERY PLAN, and the tables that it scans: SQLite reports no row counts.

    A walk along an index ends at the statement's LIMIT.
    """
    lines = [row[3] for row in rows]
    limited = "LIMIT" in statement
    found = [_WHOLE_TABLE.match(line) for line in lines if not (limited and "USING INDEX" in line)]
    names = [each[1] for each in found if each]
    aliased = [re.search(rf"\b(?:FROM|JOIN) (\w+) (?:AS )?{name}\b", statement) for name in names]
    return lines, [each[1] if each else name for each, name in zip(aliased, names, strict=True)]


def mysql_plan(rows: list[dict[str, Any]], counters: dict[str, int]) -> QueryPlan:
    """From EXPLAIN's table, and the session's Handler_read counters after the statement ran."""
    lines = []
    for row in rows:
        shown = ", ".join(f"{name} {row[name]}" for name in ("type", "key", "rows", "r_rows", "Extra") if row.get(name))
        lines.append(f"{row['table'] or '-'}: {shown}")
    rows_read = sum(counters.values())
    used = ", ".join(f"{name.removeprefix('Handler_read_')} {count:,}" for name, count in counters.items() if count)
    return QueryPlan("EXPLAIN, Handler_read", [*lines, f"rows read: {used or 'none'}"], rows_read)
