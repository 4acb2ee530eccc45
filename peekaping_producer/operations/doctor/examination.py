"""Examines the groups at the same time."""

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Sequence

import msgspec

from peekaping_producer.operations.doctor import database_group, fleet_group, redis_group
from peekaping_producer.operations.doctor.codes import GROUPS, Finding, Level
from peekaping_producer.targets import DatabaseTarget, RedisTarget


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
