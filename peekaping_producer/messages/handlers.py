"""Calls a function of the user's, `module:function`, for each message: in this process, or in worker processes."""

import asyncio
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from peekaping_producer.errors import ConfigError, RejectedMessageError
from peekaping_producer.messages.results import result_of
from peekaping_producer.processes.pool import Pool
from peekaping_producer.service.time_limits import TimeLimits
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery

Handler = Callable[[Message], Any]
"""Called with each message; a coroutine function is awaited, any other runs in a thread. For what becomes of the result
see messages.results.

A thread cannot be interrupted: after a timeout the message is tried again while the first call may still run. Handlers
that may hang belong into worker processes.

An exception is a failed attempt. `RejectedMessageError` dead-letters the message at once, `RetryLaterError` sets the
delay before the next attempt.
"""

MAX_PROCESSING_TIME_S = 3600.0
_MAX_HANGING_THREADS = 1000
"""Calls that were canceled, or timed out, and still run, at most. Beyond, messages time out for lack of a thread."""


class _Timed(msgspec.Struct):
    processing_time: float = 0.0


_decode_timed = msgspec.json.Decoder(_Timed).decode


def load_handler(name: str) -> Handler:
    """Import `module:function`; the working directory is searched first. Raises ConfigError."""
    module_name, _, function = name.partition(":")
    if not module_name or not function.isidentifier():
        raise ConfigError([f"handler: expected module:function, got {name!r}"])
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing a module runs any code
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            problem = f"handler: {name!r}: no module named {error.name!r}; check the working directory"
            raise ConfigError([problem]) from None
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError([f"handler: {name!r}: importing the module failed ({reason})"]) from error
    if not hasattr(module, function):
        raise ConfigError([f"handler: {name!r}: the module has no {function!r}"])
    handler = getattr(module, function)
    if not callable(handler):
        raise ConfigError([f"handler: expected a function, got {type(handler).__name__} for {name!r}"])
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise ConfigError([f"handler: expected a function without yield, got the generator function {name!r}"])
    if not _accepts_a_message(handler):
        parameters = inspect.signature(handler)
        raise ConfigError(
            [f"handler: expected a function of one argument, the message, got {name!r} with {parameters}"]
        )
    checked: Handler = handler
    return checked


def _accepts_a_message(handler: Callable[..., Any]) -> bool:
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):  # some functions written in C have none
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True


def processing_time_s(message: Message) -> float:
    """The number `processing_time` of a JSON object, from 0 to an hour; 0 without one."""
    if not message.body.startswith(b"{"):
        return 0.0
    try:
        seconds = _decode_timed(message.body).processing_time
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return 0.0
    return min(max(seconds, 0.0), MAX_PROCESSING_TIME_S)


class HandlerWork:
    """Work of a consumer: calls the handler, or one of the worker processes, for each message."""

    batch_size = 1
    slow = None

    def __init__(self, handler: Handler | Pool, *, concurrency: int = 10, delay_s: float = 0.0) -> None:
        """`delay_s`: to wait before each call, beside the message's own `processing_time`."""
        self.concurrency = concurrency
        self._delay_s = delay_s
        self._pool = handler if isinstance(handler, Pool) else None
        self._handler: Handler = handler.call if isinstance(handler, Pool) else handler
        self._is_async = _is_async(self._handler)
        self._threads: ThreadPoolExecutor | None = None
        self._time_limits = TimeLimits()

    async def open(self) -> None:
        """See Work. Starts the worker processes."""
        if self._pool:
            await self._pool.open()

    async def run(self, deliveries: Sequence[Delivery]) -> None:
        """See Work."""
        for delivery in deliveries:
            delay_s = self._delay_s + processing_time_s(delivery.message)
            if delay_s:
                await asyncio.sleep(delay_s)
            returned = await self._call(delivery)
            if returned is not None and delivery.keeps_result:
                delivery.result = _storable(returned)

    async def close(self) -> None:
        """See Work."""
        if self._pool:
            await self._pool.close()
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, delivery: Delivery) -> Any:
        message, timeout_s = delivery.message, delivery.timeout_s
        if self._pool:
            return await self._pool.call(message, timeout_s=timeout_s)
        call = self._handler if self._is_async else self._run_in_thread
        if timeout_s is None:
            return await call(message)
        with self._time_limits.of(timeout_s):
            return await call(message)

    async def _run_in_thread(self, message: Message) -> Any:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.concurrency + _MAX_HANGING_THREADS, thread_name_prefix="handler")
        result = await asyncio.get_running_loop().run_in_executor(self._threads, self._call_in_thread, message)
        # The result of a function that returns a coroutine: a lambda, for example.
        return await result if inspect.isawaitable(result) else result

    def _call_in_thread(self, message: Message) -> Any:
        try:
            return self._handler(message)
        except (StopIteration, GeneratorExit) as error:  # a future cannot carry them into a coroutine
            raise RuntimeError(f"the handler raised {type(error).__name__}") from error


def _storable(returned: object) -> bytes:
    """The bytes of a result. Raises RejectedMessageError: the handler has succeeded, and must not be called again."""
    result = result_of(returned)
    if result.problem:
        raise RejectedMessageError(result.problem)
    return result.data


def _is_async(handler: Handler) -> bool:
    call = getattr(type(handler), "__call__", None)  # noqa: B004 - of an object that can be called
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
