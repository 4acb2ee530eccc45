"""Every error this program raises on purpose, in one tree.

A message names the thing, the value it had (secrets masked) and what is expected, so that a log line needs no
traceback beside it.
"""

from collections.abc import Sequence


class ProducerError(Exception):
    """The root: whatever is raised on purpose."""


class ConfigError(ProducerError):
    """One or more settings are unusable. `problems` holds one sentence for each, all of them at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class UnreachableError(ProducerError):
    """A dependency did not answer, or refused us, until the time for starting was over."""


class StartInterruptedError(ProducerError):
    """Ctrl-C before there was anything to stop: the replica still waited for Redis or the database."""


class ScheduleError(ProducerError):
    """The schedule in Redis cannot be used: the server is too old, a cluster, or answered nonsense."""


class StoreError(ProducerError):
    """The database cannot be used as it is; waiting will not mend it (wrong password, missing table)."""


class StoreUnavailableError(StoreError):
    """The database did not answer, or the connection broke; a later attempt may succeed."""


class CronError(ProducerError, ValueError):
    """A cron expression that the five-field rules of robfig/cron v3 refuse."""


class MaintenanceError(ProducerError, ValueError):
    """A maintenance window that cannot be evaluated; its monitor counts as not under maintenance by it."""


class TaskDiedError(ProducerError):
    """A background task that must live as long as the replica ended; the replica stops with this reason."""


class StaleTermError(ProducerError):
    """A leader's write was refused by Redis: its term is over, and somebody else may lead."""


class RowsError(StoreError):
    """The database answers, and does not give out the rows that were asked for."""


class BatchError(ProducerError):
    """No item of a batch could be processed, although Redis and the database answer.

    `dependency` is the one whose error it was: redis, database, or producer for an error of this program.
    """

    def __init__(self, message: str, dependency: str) -> None:
        self.dependency = dependency
        super().__init__(message)
