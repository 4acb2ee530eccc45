"""The decorator that gives a class its logger."""

from typing import TypeVar

from peekaping_producer import processes

T = TypeVar("T")


def logger_setup(cls: type[T]) -> type[T]:
    """Set `self._logger` after `__init__`. The log queue is found among the arguments of `__init__` by its type.

    The records of all processes are handled in the main process, with its level and format.
    """
    return processes.logger_setup(cls)
