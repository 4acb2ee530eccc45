"""The rows of bench.stores: each is a function of its number, so that every result can be checked.

Monitor n (from 1) is a push monitor where n % 10 = 0, has a proxy where n % 10 = 1, is inactive where n % 20 = 7 and
is in a maintenance window where n % 50 = 3. Ids are MD5 sums of kind and number: as random as UUIDs, in no order.
"""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from peekaping_producer.monitors.monitor import MonitorDetails

START = datetime(2026, 11, 22, tzinfo=UTC)
"""The time of the first round of heartbeats; further rounds follow every minute."""
CONFIG = '{"url": "https://example.com/health", "method": "GET", "accepted_statuscodes": ["2XX"], "authMethod": "none"}'


class Dataset(msgspec.Struct, frozen=True):
    """The numbers of rows; at least two heartbeats per monitor."""

    monitors: int
    heartbeats: int

    @property
    def proxies(self) -> int:
        """Each is used by about a hundred monitors."""
        return self.monitors // 1000 + 1

    @property
    def windows(self) -> int:
        """Each contains about a hundred monitors; every fifth is inactive."""
        return self.monitors // 5000 + 1

    @property
    def deep(self) -> int:
        """The number of push monitors with many heartbeats, which are the first ones."""
        return max(1, self.monitors // 50_000)

    @property
    def depth(self) -> int:
        """Additional heartbeats of each of those."""
        return min(10_000, self.heartbeats // 50 // self.deep)

    @property
    def long_pasts(self) -> list[int]:
        """The numbers of those monitors."""
        return [10 * (n + 1) for n in range(self.deep)]

    @property
    def rounds(self) -> list[int]:
        """The sizes of the rounds of all other heartbeats: each over all monitors, the last over some."""
        whole, rest = divmod(self.heartbeats - self.deep * self.depth, self.monitors)
        return [self.monitors] * whole + [rest]

    def flaws(self, number: int, details: MonitorDetails) -> Iterator[str]:
        """Yield the differences between what a store read of monitor `number` and what was written."""
        last = max(n for n, count in enumerate(self.rounds) if number <= count)
        windows = [window_id(number, self)] if number % 50 == 3 and number % self.windows % 5 else []
        expected = {
            "name": (details.monitor.name, f"monitor {number}"),
            "active": (details.monitor.active, number % 20 != 7),
            "proxy": (details.proxy and details.proxy.id, proxy_id(number, self) if number % 10 == 1 else None),
            "windows": ([each.id for each in details.windows], windows),
            "heartbeat": (
                details.latest_heartbeat and details.latest_heartbeat.time,
                START + timedelta(seconds=60 * last + number % 60) if number % 10 == 0 else None,
            ),
        }
        return (f"{what}: expected {right!r}, got {got!r}" for what, (got, right) in expected.items() if got != right)


def id_of(text: str) -> str:
    """An id as a UUID, of a text like "monitor 1"."""
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start:end] for start, end in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))


def proxy_id(number: int, dataset: Dataset) -> str:
    """The proxy of monitor `number`, if it has one."""
    return id_of(f"proxy {number % dataset.proxies}")


def window_id(number: int, dataset: Dataset) -> str:
    """The maintenance window of monitor `number`, if it is in one."""
    return id_of(f"window {number % dataset.windows}")


class Expressions(NamedTuple):
    """The expressions that differ between SQL dialects."""

    id_of: Callable[[str], str]
    """id_of() an expression."""
    at: Callable[[str], str]
    """The time so many seconds after START, of an expression."""


def statements(dataset: Dataset, sql: Expressions) -> Iterator[str]:
    """Yield the INSERTs, in standard SQL except for `sql`, in the order that foreign keys require."""
    yield f"""
INSERT INTO proxies (id, protocol, host, port, auth, username, password)
SELECT {sql.id_of("'proxy ' || (n - 1)")}, 'http', 'proxy' || n || '.example.com', 3128, n > 0, 'user', 'secret'
FROM {_numbers(dataset.proxies)}"""
    yield f"""
INSERT INTO monitors (id, type, name, "interval", timeout, max_retries, retry_interval, resend_interval, active, config,
                      proxy_id)
SELECT {sql.id_of("'monitor ' || n")}, CASE WHEN n % 10 = 0 THEN 'push' ELSE 'http' END, 'monitor ' || n, 60, 16, 3, 60,
       0, n % 20 <> 7, '{CONFIG}',
       CASE WHEN n % 10 = 1 THEN {sql.id_of(f"'proxy ' || (n % {dataset.proxies})")} END
FROM {_numbers(dataset.monitors)}"""
    yield f"""
INSERT INTO maintenances (id, title, active, strategy, start_date_time, end_date_time, cron, timezone, duration)
SELECT {sql.id_of("'window ' || (n - 1)")}, 'window ' || n, (n - 1) % 5 <> 0, 'recurring-weekday', '2026-01-01T00:00',
       '2027-01-01T00:00', '0 2 * * 1', 'Europe/Berlin', 90
FROM {_numbers(dataset.windows)}"""
    yield f"""
INSERT INTO monitor_maintenances (id, monitor_id, maintenance_id)
SELECT {sql.id_of("'link ' || n")}, {sql.id_of("'monitor ' || n")},
       {sql.id_of(f"'window ' || (n % {dataset.windows})")}
FROM {_numbers(dataset.monitors)} WHERE n % 50 = 3"""
    past = _heartbeats("'past ' || n", f"(10 * (n % {dataset.deep} + 1))", "(-60 * n)", sql)
    yield past + _numbers(dataset.deep * dataset.depth)
    for number, count in enumerate(dataset.rounds):
        if count:
            beat = f"'heartbeat ' || {number} || ' ' || n"
            yield _heartbeats(beat, "n", f"(60 * {number} + n % 60)", sql) + _numbers(count)


def _heartbeats(text: str, monitor: str, seconds: str, sql: Expressions) -> str:
    return f"""
INSERT INTO heartbeats (id, monitor_id, status, msg, ping, duration, down_count, retries, important, time, end_time,
                        notified)
SELECT {sql.id_of(text)}, {sql.id_of(f"'monitor ' || {monitor}")}, CASE WHEN n % 50 = 8 THEN 0 ELSE 1 END,
       'HTTP 200 OK', 20 + n % 500, 60, 0, 0, n % 100 = 8, {sql.at(seconds)}, {sql.at(seconds)}, n < 0
FROM """


def _numbers(count: int) -> str:
    series = f"SELECT 1 AS n UNION ALL SELECT n + 1 FROM series WHERE n < {count}"
    return f"(WITH RECURSIVE series (n) AS ({series}) SELECT n FROM series) AS numbers"
