"""Every error that this program raises on purpose, in one tree.

A message names the thing, what is expected, and the value it had (secrets masked), so that a log line needs no
traceback beside it.
"""

from collections.abc import Sequence

REDIS = "redis"
DATABASE = "database"
BROKER = "broker"
"""A message broker other than the Redis of the schedule."""
WORKERS = "workers"
"""The worker processes of a pool."""
SOURCE = "source"
"""The file or other origin that a source reads."""
CHECKPOINT = "checkpoint"
"""The files that a source writes: its checkpoint and its dead letters."""
OUTPUT = "output"
"""The file, or the stream, that a sink writes."""
PRODUCER = "producer"
"""This program itself: an error of its own stopped a whole batch."""


class ProducerError(Exception):
    """The root of the tree."""


class ConfigError(ProducerError):
    """One or more settings are unusable. `problems` holds one sentence for each, all of them at once."""

    def __init__(self, problems: Sequence[str], warnings: Sequence[str] = ()) -> None:
        """`warnings`: names that resemble a missing setting."""
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("; ".join(self.problems))


class ActError(ProducerError):
    """A person asked for something with an argument that is not accepted; nothing was done."""


class UnreachableError(ProducerError):
    """A dependency did not answer, or the connection broke; a later attempt may succeed."""


class ItemError(ProducerError):
    """A call was refused for the items in it; a call with other items may succeed."""


class DependencyError(ProducerError):
    """A call to the `dependency` failed. Loops wait and try again."""

    dependency: str

    @property
    def kind(self) -> str:
        """Errors of the same kind are logged once per outage."""
        return type(self).__name__

    @property
    def has_cause(self) -> bool:
        """Whether the message contains a cause, not only that no answer came."""
        return not isinstance(self, UnreachableError)


class RedisError(DependencyError):
    """A call to Redis failed."""

    dependency = REDIS


class RedisUnavailableError(RedisError, UnreachableError):
    """Redis did not answer, or the connection broke: it is unknown whether the call was executed."""


class RedisRefusedError(RedisError):
    """Redis answered with an error. `code` is the first word of the reply, "ERR" where there is no other."""

    def __init__(self, message: str, code: str = "ERR") -> None:
        self.code = code
        super().__init__(message)

    @property
    def kind(self) -> str:
        """The code of the reply."""
        return self.code


class RedisArgumentError(RedisRefusedError, ItemError):
    """Redis, or its client, refused this call, and may execute one with other arguments."""


class RedisUnusableError(ProducerError):
    """This Redis server cannot be used: it is too old, a cluster, or refuses the user."""


class StoreError(DependencyError):
    """A call to the database failed."""

    dependency = DATABASE
    connection_usable = False
    """Whether the connection can be used after this error."""


class StoreUnavailableError(StoreError, UnreachableError):
    """The database did not answer, failed, or the connection broke; a later attempt may succeed."""


class StoreRefusedError(StoreError):
    """The database cannot be used as it is; waiting will not help (wrong password, missing table)."""


class UnreadableMonitorError(StoreError, ItemError):
    """The database answers, but the rows of this monitor cannot be read."""


class BrokerError(DependencyError):
    """A call to the message broker failed."""

    dependency = BROKER


class BrokerUnavailableError(BrokerError, UnreachableError):
    """The broker did not answer or confirm in time, or the connection broke; a later attempt may succeed."""


class BrokerRefusedError(BrokerError):
    """The broker cannot be used as it is (wrong password, missing rights, a queue of another kind)."""


class SourceError(DependencyError):
    """The file or other origin of a source cannot be read now; a later attempt may succeed."""

    dependency = SOURCE


class CheckpointError(DependencyError):
    """The checkpoint or the dead letters of a source cannot be written now; a later attempt may succeed."""

    dependency = CHECKPOINT


class OutputUnavailableError(DependencyError, UnreachableError):
    """A sink cannot write now (the disk is full); a later attempt may succeed."""

    dependency = OUTPUT


class OutputClosedError(ProducerError):
    """No process reads the output of a sink any more: the consumer ends."""


class BufferFullError(ProducerError):
    """The relay has no room for these messages now; a later attempt may succeed."""


class BatchTooLargeError(ProducerError):
    """These messages exceed the whole buffer of the relay; smaller batches may succeed."""


class RelayClosedError(ProducerError):
    """The relay stops: it accepts no messages, or stopped before the broker settled them."""


class WorkersUnavailableError(DependencyError, UnreachableError):
    """The pool is closed, or no worker process can be started (an import of the handler fails)."""

    dependency = WORKERS


class CommandFailedError(ItemError):
    """The handler raised an exception, or returned a value, that cannot be sent between processes."""


class CommandKilledWorkersError(ItemError):
    """The worker processes that executed this command died, `max_deaths` of them."""


class MessageCommandError(ProducerError, ValueError):
    """A text that does not contain a command, or values that cannot be in one."""


class LogQueueError(ProducerError, TypeError):
    """A class decorated with `logger_setup` received no log queue."""


class RejectedMessageError(ItemError):
    """A handler raises this for a message that can never succeed: it goes to the dead letters at once."""


class UndecodableMessageError(ProducerError, ValueError):
    """The bytes of a message are not in the format of its broker; receiving it again would not help."""


class BatchError(DependencyError):
    """No item of a batch could be processed, although Redis and the database answer.

    `dependency` is the origin of the errors; PRODUCER for an error of this program.
    """

    def __init__(self, message: str, dependency: str) -> None:
        self.dependency = dependency
        super().__init__(message)


class CronError(ProducerError, ValueError):
    """A cron expression that the five-field rules of robfig/cron v3 refuse."""


class MaintenanceError(ProducerError, ValueError):
    """A maintenance window that cannot be evaluated; it counts as not active."""


class TaskDiedError(ProducerError):
    """A background task ended that must run as long as the replica; the replica stops with this reason."""


class StaleTermError(ProducerError):
    """Redis refused a leader's write: its term is over, and another replica may lead."""


class StartInterruptedError(ProducerError):
    """Ctrl-C while the replica still waited for Redis or the database."""


class TemplateError(ProducerError):
    """A project of the template cannot be written or run."""
