"""Checks of the database of the monitors."""

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial

from msgspec.structs import replace

from peekaping_producer.errors import StoreError, UnreachableError
from peekaping_producer.monitors.maintenance import MaintenanceWindow, under_maintenance
from peekaping_producer.operations.answering import LIMITS, answering
from peekaping_producer.operations.doctor.checks import checked, until_unreachable
from peekaping_producer.operations.doctor.codes import Finding, finding
from peekaping_producer.service.text import counted, duration, one_line
from peekaping_producer.stores import MonitorStore, Session, store_for
from peekaping_producer.stores.catalogue import Catalogue
from peekaping_producer.stores.errors import TableTimeoutError
from peekaping_producer.targets import DatabaseTarget

CLOSE_LIMIT_S = 3.0
SLOW_S = 0.25
"""Of the read of one monitor."""
MAX_WINDOWS = 1000
_MAX_NAMED = 5
_LIMITS = replace(LIMITS, command_s=3.0)


async def examine(target: DatabaseTarget, server_zone: str) -> list[Finding]:
    """Run all checks of this group, one after another. `server_zone`: the setting TZ."""
    store = store_for(target, connections=1, limits=_LIMITS)
    checks: Mapping[str, Callable[[Session], Awaitable[Iterable[Finding]]]] = {
        "answer": lambda session: _answer(session, target),
        "catalogue": lambda session: _catalogue(session, target),
        "monitors": _monitors,
        "maintenance windows": lambda session: _windows(session, server_zone),
    }
    try:
        findings, is_open = await _open(store, target)
        in_session = {name: partial(_in_session, store, check) for name, check in checks.items() if is_open}
        return findings + await until_unreachable("database", in_session)
    finally:
        await checked("database", "end of the connection", _close(store), CLOSE_LIMIT_S)


async def _open(store: MonitorStore, target: DatabaseTarget) -> tuple[list[Finding], bool]:
    """Connect, and read no rows from each table and column that the producer reads; whether that succeeded."""
    try:
        async with answering(target):
            late = await store.open()
    except TableTimeoutError as error:
        return [finding("database.reads_time_out", f"{error}.")], False
    except UnreachableError as error:
        return [finding("database.unreachable", f"{error}.")], False
    except StoreError as error:
        return [finding("database.refused", f"{error}.")], False
    except Exception as error:  # a driver's message could contain a secret
        return [finding("database.refused", f"{target}: the driver failed ({type(error).__name__}).")], False
    degraded = [finding("database.degraded", f"{reason}.") for reason in late.values()]
    return degraded or [finding("database.tables", "Every table and column that the producer reads exists.")], True


async def _close(store: MonitorStore) -> Iterable[Finding]:
    await store.close()
    return ()


async def _in_session(
    store: MonitorStore, check: Callable[[Session], Awaitable[Iterable[Finding]]]
) -> Iterable[Finding]:
    async with store.session() as session:
        return await check(session)


async def _answer(session: Session, target: DatabaseTarget) -> Iterable[Finding]:
    began = time.perf_counter()
    await session.ping()
    took_s = time.perf_counter() - began
    text = f"{target} returns a monitor in {duration(took_s)}."
    return [finding("database.slow" if took_s > SLOW_S else "database.server", text)]


async def _catalogue(session: Session, target: DatabaseTarget) -> Iterable[Finding]:
    catalogue = await session.catalogue()
    return [
        finding("database.version", f"{one_line(catalogue.version, 80)}."),
        *_indexes(catalogue),
        _rights(catalogue, target),
    ]


def _indexes(catalogue: Catalogue) -> Iterator[Finding]:
    if catalogue.missing_indexes is None:
        yield finding("database.indexes_unknown", "The user may not list indexes.")
    elif not catalogue.missing_indexes:
        yield finding("database.indexes", "Every index that the producer's reads use exists.")
    for name in catalogue.missing_indexes or ():
        yield finding(
            "database.index_missing", f"No index begins with the columns {name}: reads of this table are slow."
        )


def _rights(catalogue: Catalogue, target: DatabaseTarget) -> Finding:
    if target.dialect == "sqlite":
        return finding("database.read_only", "The file is opened read-only, whatever its permissions.")
    if catalogue.writable is None:
        return finding("database.rights_unknown", "The rights of the user are not known.")
    if catalogue.writable:
        return finding("database.may_write", f"The user may write to {', '.join(catalogue.writable)}.")
    return finding("database.read_only", "The user may not write.")


async def _monitors(session: Session) -> Iterable[Finding]:
    if await session.page_of_plans(None, 1):
        return []
    return [finding("database.empty", "The database contains no active monitor.")]


async def _windows(session: Session, server_zone: str) -> Iterable[Finding]:
    """The active windows, evaluated by the function that builds tasks."""
    read = await session.windows(MAX_WINDOWS)
    problems = [f"maintenance {id_}: {reason}" for id_, reason in read.broken.items()]
    problems += [problem for window in read.windows for problem in _problems_of(window, server_zone)]
    count = len(read.windows) + len(read.broken)
    if not problems:
        zones = len({window.timezone or "UTC" for window in read.windows})
        text = f"{counted(count, 'active maintenance window')} in {counted(zones, 'time zone')}: all can be evaluated."
        return [finding("database.windows", text if count else "No active maintenance window.")]
    named = [finding("database.window_broken", f"{one_line(problem, 300)}.") for problem in problems[:_MAX_NAMED]]
    if len(problems) > _MAX_NAMED:
        more = f"{len(problems) - _MAX_NAMED:,} more problems of {counted(count, 'active maintenance window')}."
        named.append(finding("database.window_broken", more))
    return named


def _problems_of(window: MaintenanceWindow, server_zone: str) -> list[str]:
    problems: list[str] = []
    under_maintenance(
        [window], int(time.time() * 1000), server_zone, lambda _window, error: problems.append(str(error))
    )
    return problems
