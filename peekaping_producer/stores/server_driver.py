"""Connect to a database: find the login that it accepts, and the address that answers."""

import asyncio
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from urllib.parse import unquote

import structlog

from peekaping_producer.errors import ConfigError, StoreError, StoreRefusedError, StoreUnavailableError
from peekaping_producer.service.net import resolve, shares
from peekaping_producer.service.text import first_sentence
from peekaping_producer.stores.errors import LoginRefusedError, error_prefix
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.pool import C, Driver
from peekaping_producer.targets import DatabaseTarget

log = structlog.stdlib.get_logger()
T = TypeVar("T")


class ServerDriver(Driver[C]):
    """A driver that finds the login that the server accepts and the address that answers, and keeps both."""

    def __init__(self, target: DatabaseTarget, limits: Limits) -> None:
        super().__init__(target, limits)
        self._candidates: Sequence[DatabaseTarget] = target.candidates
        self._answered: str | None = None

    @abstractmethod
    async def attempt(self, candidate: DatabaseTarget, address: str) -> C:
        """Connect to one address with one candidate of the target. May raise anything."""

    async def connect(self) -> C:
        """A new connection. Raises the first refusal, or the failure of the last address."""
        accepted, connection = await log_in(self._candidates, self._reach)
        self._candidates = (accepted,)
        return connection

    async def _reach(self, candidate: DatabaseTarget) -> C:
        """Try each address in turn, for its share of the time that is left."""
        ends_at = time.monotonic() + self.limits.acquire_s
        addresses = await addresses_of(candidate, self.limits.acquire_s)
        addresses.sort(key=lambda address: address != self._answered)
        failure: StoreError | None = None
        for address, share_s in shares(addresses, ends_at):
            try:
                with self.translated(candidate):
                    async with asyncio.timeout(share_s):
                        connection = await self.attempt(candidate, address)
            except StoreUnavailableError as error:
                failure = error
            else:
                self._answered = address
                return connection
        if len(addresses) > 1:
            failure = StoreUnavailableError(f"{failure} (the last address of {', '.join(addresses)})")
        raise failure or StoreUnavailableError(f"{error_prefix(candidate)}: the host has no address")


def check_params(target: DatabaseTarget, known: set[str], expected: str) -> None:
    """Raise ConfigError for parameters of a DATABASE_URL that are not known."""
    if unknown := sorted(target.params.keys() - known):
        raise ConfigError([f"DATABASE_URL: expected {expected}, got {name}=..." for name in unknown])


async def log_in(
    candidates: Sequence[DatabaseTarget], attempt: Callable[[DatabaseTarget], Awaitable[T]]
) -> tuple[DatabaseTarget, T]:
    """Return the first candidate that the server accepts, and the result of `attempt` for it.

    Raises the first refusal if the server refuses all of them; any other error of `attempt` is raised at once.
    """
    refusals: list[LoginRefusedError] = []
    for candidate in candidates:
        try:
            connection = await attempt(candidate)
        except LoginRefusedError as error:
            refusals.append(error)
            continue
        if refusals:
            _report(candidates[0], candidate)
        return candidate, connection
    raise refusals[0]


def _report(refused: DatabaseTarget, accepted: DatabaseTarget) -> None:
    pairs = {
        "DB_USER": (refused.user or "", accepted.user or ""),
        "DB_PASS": (refused.password or "", accepted.password or ""),
        "DB_NAME": (refused.name, accepted.name),
    }
    forms = {name: _form(*pair) for name, pair in pairs.items() if pair[0] != pair[1]}
    log.info(
        "database.login_accepted",
        message="The database refused the login as configured and accepted: "
        + ", ".join(f"{name} {form}" for name, form in forms.items()),
        settings=list(forms),
    )


def _form(refused: str, accepted: str) -> str:
    if accepted == unquote(refused):
        return "percent-decoded"
    return "as written" if unquote(accepted) == refused else "without surrounding whitespace or quotes"


async def addresses_of(target: DatabaseTarget, timeout_s: float) -> list[str]:
    """The addresses of the target's host, in the resolver's order; the path of a Unix socket unchanged.

    Raises StoreUnavailableError for an unknown name, which may exist later, and StoreError for an invalid one.
    """
    host = (target.host or "").removeprefix("[").removesuffix("]")
    if host.startswith("/"):
        return [host]
    try:
        async with asyncio.timeout(timeout_s):
            return await resolve(host, target.port)
    except TimeoutError:
        raise StoreUnavailableError(f"{error_prefix(target)}: the host name was not resolved in time") from None
    except ValueError:
        raise StoreRefusedError(f"{error_prefix(target)}: DB_HOST: expected a host name or an address") from None
    except OSError as error:
        reason = first_sentence(error.strerror or "the resolver failed")
        raise StoreUnavailableError(f"{error_prefix(target)}: cannot resolve the host name: {reason}") from None
