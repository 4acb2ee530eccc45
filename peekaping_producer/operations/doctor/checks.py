"""Runs checks: one that fails, or hangs, stops no other."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from peekaping_producer.errors import ProducerError, StoreError, UnreachableError
from peekaping_producer.operations.doctor.codes import Finding, finding

T = TypeVar("T")
Check = Callable[[], Awaitable[Iterable[Finding]]]

CHECK_LIMIT_S = 10.0
"""For one check; the limits of client and store are shorter, but a driver may not keep to its own."""


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
