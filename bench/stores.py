"""Measure reading from a database, and check that every statement finds its rows by an index.

    python -m bench.stores --dialect postgres --monitors 1000000 --heartbeats 10000000 [--batch 500] [--json FILE]

Starts a server (or uses BENCH_DATABASE_URL), fills it, reads through the store's own sessions and explains each
statement that they sent. Results are checked before a figure counts. Exit code 1 if a statement reads a whole
table.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sized
from pathlib import Path
from typing import NamedTuple

from bench.databases import KINDS, MeasuredDatabase, database
from bench.dataset import Dataset, id_of
from bench.plans import Statement
from peekaping_producer.monitors.monitor import MonitorDetails
from peekaping_producer.stores import MonitorStore, Session, store_for

PAGE = 1000
"""Monitors per page, as sync reads them."""
LOADS = 200
"""Loads per round."""
ROWS_FOR_ONE = 10
"""The most rows that a statement may read for each requested monitor; so it may scan a small table."""
COLUMNS = {
    "load_p50_ms": (13, 2),
    "load_p99_ms": (13, 2),
    "load_monitors_per_s": (21, 0),
    "plans_p50_ms": (14, 2),
    "plans_p99_ms": (14, 2),
    "walk_s": (8, 2),
    "walk_monitors_per_s": (21, 0),
}
"""The columns of the table, with their width and digits."""


class Sent(NamedTuple):
    """The statements that a session sent for some monitors."""

    what: str
    asked: int
    statements: list[Statement]


async def check(session: Session, dataset: Dataset, batch: int) -> None:
    """Compare what the store reads with what was written."""
    first = range(1, batch + 1)  # those with many heartbeats are among them
    for numbers in (first, *(_sample(dataset, batch) for _ in range(9))):
        wanted = {id_of(f"monitor {number}"): number for number in numbers}
        loaded = await session.load([*wanted, id_of("no monitor")])
        assert loaded.monitors.keys() == wanted.keys(), "not the requested monitors"
        assert not loaded.broken, loaded.broken
        flaws = [flaw for id_, each in loaded.monitors.items() for flaw in dataset.flaws(wanted[id_], each)]
        assert not flaws, flaws[:10]
        plans = await session.plans(list(wanted))
        assert {plan.id: plan.interval for plan in plans.values()} == {
            id_: 0 if number % 20 == 7 else 60 for id_, number in wanted.items()
        }, "not the requested plans"


async def sent(store: MonitorStore, side: MeasuredDatabase, dataset: Dataset, batch: int) -> list[Sent]:
    """Call every method of a session, load() first; return the statements of each."""
    found = []
    async with store.session() as session:
        ids = [id_of(f"monitor {number}") for number in dataset.long_pasts[:batch]]
        ids += _ids(dataset, batch - len(ids))
        for what, asked, call in (
            (f"load({batch} ids)", batch, lambda: session.load(ids)),
            (f"plans({batch} ids)", batch, lambda: session.plans(ids)),
            (f"page_of_plans(None, {PAGE})", PAGE, lambda: session.page_of_plans(None, PAGE)),
            (f"page_of_plans(the middle, {PAGE})", PAGE, lambda: session.page_of_plans(side.middle, PAGE)),
            ("ping()", 1, session.ping),
        ):
            with side.recorded() as statements:
                await call()
            found.append(Sent(what, asked, statements))
    return found


async def explain(side: MeasuredDatabase, asked_for: list[Sent]) -> tuple[list[str], bool]:
    """Return the plans of these statements as lines, and whether none of them reads too many rows."""
    lines, good = [], True
    for what, asked, statements in asked_for:
        for number, statement in enumerate(statements, 1):
            lines.append(f"{what}, statement {number} of {len(statements)}: {_short(statement)}")
            for plan in await side.explain(statement):
                lines += [f"    {plan.kind}", *(f"      {line}" for line in plan.lines)]
                if plan.rows_read > ROWS_FOR_ONE * asked:
                    good = False
                    lines.append(f"      READS TOO MUCH: {plan.rows_read:,} rows for {asked:,} monitors")
    return lines, good


async def measure(store: MonitorStore, dataset: Dataset, batch: int) -> dict[str, float]:
    """Measure one round: ms of a call in one session, monitors per second, seconds of a complete walk."""
    async with store.session() as session:

        async def load(ids: list[str]) -> Mapping[str, MonitorDetails]:
            return (await session.load(ids)).monitors

        load_ms = [await _timed(load, dataset, batch) for _ in range(LOADS)]
        plans_ms = [await _timed(session.plans, dataset, batch) for _ in range(LOADS)]
        started_at = time.perf_counter()
        seen = await _walk(session)
        walk_s = time.perf_counter() - started_at
    inactive = sum(number % 20 == 7 for number in range(1, dataset.monitors + 1))
    assert seen == dataset.monitors - inactive, f"the walk saw {seen} monitors"
    return {
        "load_p50_ms": statistics.median(load_ms),
        "load_p99_ms": statistics.quantiles(load_ms, n=100)[98],
        "load_monitors_per_s": 1000 * batch * LOADS / sum(load_ms),
        "plans_p50_ms": statistics.median(plans_ms),
        "plans_p99_ms": statistics.quantiles(plans_ms, n=100)[98],
        "walk_s": walk_s,
        "walk_monitors_per_s": seen / walk_s,
    }


async def _timed(read: Callable[[list[str]], Awaitable[Sized]], dataset: Dataset, batch: int) -> float:
    ids = _ids(dataset, batch)
    started_at = time.perf_counter()
    found = await read(ids)
    took_ms = 1000 * (time.perf_counter() - started_at)
    assert len(found) == batch, "not the requested monitors"
    return took_ms


async def _walk(session: Session) -> int:
    """Count the monitors of all pages; check that they are in the order of their ids, none twice."""
    seen, after = 0, None
    while page := await session.page_of_plans(after, PAGE):
        ids = [plan.id for plan in page]
        assert (after or "") < ids[0], "the page begins before the last one ended"
        assert ids == sorted(set(ids)), "not in the order of their ids"
        seen, after = seen + len(page), ids[-1]
    return seen


def _sample(dataset: Dataset, count: int) -> list[int]:
    return random.sample(range(1, dataset.monitors + 1), count)


def _ids(dataset: Dataset, count: int) -> list[str]:
    return [id_of(f"monitor {number}") for number in _sample(dataset, count)]


def _short(statement: Statement) -> str:
    words = " ".join(str(statement.text).split())
    return words if len(words) < 100 else f"{words[:60]} ... {words[-36:]}"


def _row(figures: dict[str, float]) -> str:
    return "".join(f"{figures[name]:>{width},.{digits}f}" for name, (width, digits) in COLUMNS.items())


async def run(args: argparse.Namespace) -> bool:
    """Print the table and write the JSON; return whether every statement uses an index."""
    dataset = Dataset(args.monitors, args.heartbeats)
    async with database(args.dialect) as (target, side):
        started_at = time.perf_counter()
        await side.fill(dataset)
        fill_s, size = time.perf_counter() - started_at, await side.size()
        print(f"{args.dialect}: {dataset.monitors:,} monitors, {dataset.heartbeats:,} heartbeats, ", end="")
        print(f"{size / 1e9:.2f} GB, ready in {fill_s:.0f} s", flush=True)
        store = store_for(target, connections=4)
        await store.open()
        async with store.session() as session:
            await check(session, dataset, args.batch)
        asked_for = await sent(store, side, dataset, args.batch)
        of_a_load = len(asked_for[0].statements)
        assert 0 < of_a_load <= 5, f"a load uses {of_a_load} statements"
        plans, good = await explain(side, asked_for)
        print("\n".join(plans))
        print(f"{of_a_load} statements for a load of {args.batch}")
        print("".join(f"{name:>{width}}" for name, (width, _) in COLUMNS.items()), flush=True)
        rounds = []
        for _ in range(args.rounds):
            rounds.append(await measure(store, dataset, args.batch))
            print(_row(rounds[-1]), flush=True)
        await store.close()
    if args.json:
        report = {"args": {**vars(args), "json": str(args.json)}, "bytes": size, "fill_s": fill_s}
        report |= {"statements_per_load": of_a_load, "rounds": rounds, "plans": plans, "indexes_used": good}
        args.json.write_text(json.dumps(report, indent=1))
    return good


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialect", choices=list(KINDS), required=True)
    parser.add_argument("--monitors", type=int, default=100_000)
    parser.add_argument("--heartbeats", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not 0 < args.batch <= min(1000, args.monitors):
        parser.error(f"--batch: expected 1 to {min(1000, args.monitors)} (no more than --monitors), got {args.batch}")
    if args.heartbeats < 2 * args.monitors:
        parser.error(f"--heartbeats: expected {2 * args.monitors} or more (two per monitor), got {args.heartbeats}")
    if not asyncio.run(run(args)):
        sys.exit("a statement reads too much: see above")


if __name__ == "__main__":
    main()
