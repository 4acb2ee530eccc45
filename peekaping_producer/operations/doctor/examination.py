"""Runs the groups: one that fails, or hangs, stops no other."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from peekaping_producer.errors import ProducerError, StoreError, UnreachableError
from peekaping_producer.operations.doctor.codes import GROUPS, Finding, Level, finding
from peekaping_producer.targets import DatabaseTarget, RedisTarget

T = TypeVar("T")
Check = Callable[[], Awaitable[Iterable[Finding]]]

CHECK_LIMIT_S = 10.0
"""For one check; the limits of client and store are shorter, but a driver may not keep to its own."""


class Examination(msgspec.Struct, frozen=True):
    """All findings, by groups."""

    groups: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def is_unreachable(self) -> bool:
        """Whether Redis or the database did not answer."""
        return any(found.code.endswith(".unreachable") for found in self.findings)

    def count(self, level: Level) -> int:
        """Return the number of findings of a level."""
        return sum(found.level is level for found in self.findings)

    @property
    def exit_code(self) -> int:
        """3 if Redis or the database did not answer, 1 if there is a problem, else 0; notes are none."""
        return 3 if self.is_unreachable else int(self.count(Level.PROBLEM) > 0)


async def checked(
    group: str, name: str, check: Awaitable[Iterable[Finding]], limit_s: float = CHECK_LIMIT_S
) -> list[Finding]:
    """Return what a check finds; a finding instead of any error, and of an answer that does not come in time."""
    try:
        async with asyncio.timeout(limit_s):
            return list(await check)
    except TimeoutError:
        reason = f"no answer within {limit_s:g} s"
    except ProducerError as error:
        reason = str(error)
        if isinstance(error, UnreachableError) and not (isinstance(error, StoreError) and error.connection_usable):
            return [finding(f"{group}.unreachable", f"{name}: {reason}.")]
    except Exception as error:  # a driver's message could contain a secret
        reason = f"the check failed ({type(error).__name__})"
    return [finding(f"{group}.check_failed", f"{name}: {reason}.")]


async def until_unreachable(group: str, checks: Mapping[str, Check]) -> list[Finding]:
    """Run checks one after another, by name; the first that finds the server unreachable is the last."""
    findings: list[Finding] = []
    for name, check in checks.items():
        findings += await checked(group, name, check())
        if findings and findings[-1].code == f"{group}.unreachable":
            break
    return findings


async def evaluated(check: Callable[[T], Iterable[Finding]], of: T) -> Iterable[Finding]:
    """Return the findings of a check that does no I/O."""
    return list(check(of))


async def examine(
    redis: RedisTarget | None,
    database: DatabaseTarget | None,
    *,
    only: Collection[str] = GROUPS,
    lease_ttl_s: float,
    server_zone: str,
    broker: str = "asynq",
) -> Examination:
    """Examine the groups of `only`, at the same time; a target that none of them needs may be None.

    `server_zone`: the setting TZ. Writes nothing except for the probe that shows whether Redis accepts writes.
    Raises only ConfigError.
    """
    from peekaping_producer.operations.doctor import database_group, fleet_group, redis_group

    runs: list[Awaitable[list[Finding]]] = []
    if redis and "redis" in only:
        runs.append(redis_group.examine(redis))
    if database and "database" in only:
        runs.append(database_group.examine(database, server_zone))
    if redis and {"fleet", "workers"} & set(only):
        runs.append(fleet_group.examine(redis, lease_ttl_s=lease_ttl_s, broker=broker))
    found = [one for group in await asyncio.gather(*runs) for one in group]
    groups = tuple(group for group in GROUPS if group in only)
    return Examination(groups, tuple(_sorted(found, groups)))


def _sorted(findings: Iterable[Finding], groups: Sequence[str]) -> list[Finding]:
    """Return those of `groups`, by group, in the order in which they were found."""
    found = list(findings)
    return [one for group in groups for one in found if one.group == group]
