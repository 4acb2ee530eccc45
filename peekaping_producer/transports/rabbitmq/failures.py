"""Errors of RabbitMQ, of its client library and of the network, as ours: bounded, with the setting to change."""

import asyncio
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from aiormq import exceptions as driver
from pamqp import commands, frame

from peekaping_producer.errors import BrokerError, BrokerRefusedError, BrokerUnavailableError, ConfigError
from peekaping_producer.service.causes import causes
from peekaping_producer.service.text import one_line
from peekaping_producer.targets import RabbitMqTarget

_MAX_LENGTH = 300
_OTHER_KIND = "use another RABBITMQ_QUEUE, or delete the queue"
_RIGHTS = "grant its user the permissions to configure, write and read in RABBITMQ_VHOST"
_NOT_RABBITMQ = "expected a RabbitMQ server at RABBITMQ_HOST and RABBITMQ_PORT"
_TLS_ALERT = b"\x15\x03"
_METHOD = b"\x01\x00\x00"
"""The beginning of what an AMQP server sends first: a method frame of channel 0."""


@contextmanager
def translated(target: RabbitMqTarget) -> Iterator[None]:
    """Raise whatever the block raises as BrokerError."""
    try:
        yield
    except (BrokerError, ConfigError):
        raise
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        # The library rejects its futures with this error when it closes a channel.
        raise BrokerUnavailableError(f"RabbitMQ at {target}: the connection was closed") from error
    except Exception as error:  # the library raises more than its own errors
        raise as_ours(error, target) from error


def as_ours(error: BaseException, target: RabbitMqTarget) -> BrokerError:
    """The error as one of ours."""
    where = f"RabbitMQ at {target}"
    if why := _refusal(error, target):
        return BrokerRefusedError(f"{where}: {why}")
    return BrokerUnavailableError(f"{where}: {in_words(error)}")


def refused_opening(error: BaseException, first: bytes, last: bytes, target: RabbitMqTarget) -> BrokerError:
    """The error of a connection that could not be opened. `first` and `last` are what the server sent.

    The library drops the text of the server's refusal of a virtual host.
    """
    where = f"RabbitMQ at {target}"
    if first.startswith(_TLS_ALERT) and not target.tls:
        return needs_tls(target)
    try:
        *_, reply = frame.unmarshal(last)
    except Exception:  # of any kind, for bytes that are no frame
        reply = None
    if isinstance(reply, commands.Connection.Close):
        text = _bounded(f"{reply.reply_text}")
        if reply.reply_code == 530:
            return BrokerRefusedError(f"{where}: RABBITMQ_VHOST: {text}; create it, or {_RIGHTS}")
        if reply.reply_code != 403:
            return BrokerUnavailableError(f"{where}: {text}")
    if not first.startswith(_METHOD[: len(first)]) or isinstance(error, driver.ProtocolSyntaxError):
        return BrokerRefusedError(f"{where}: {_NOT_RABBITMQ}, got a reply that is not AMQP 0-9-1")
    return as_ours(error, target)


def needs_tls(target: RabbitMqTarget) -> BrokerRefusedError:
    """The error of a plain connection to a port for TLS."""
    text = "RABBITMQ_TLS: expected true, got false: the server uses TLS"
    return BrokerRefusedError(f"RabbitMQ at {target}: {text}")


def closed_at_once(error: BaseException, target: RabbitMqTarget) -> BrokerUnavailableError:
    """The error of a connection that the server closed without a reply, as the port of RabbitMQ's HTTP API does."""
    return BrokerUnavailableError(f"RabbitMQ at {target}: {in_words(error)}; {_NOT_RABBITMQ}, got no reply")


def max_size(error: BaseException) -> int | None:
    """The largest body in bytes that the broker accepts, if it closed the channel because of a larger one."""
    match = re.search(r"message size \d+ is larger than (?:configured )?max size (\d+)", str(error))
    return int(match[1]) if match else None


def in_words(error: BaseException) -> str:
    """The error as one bounded line."""
    match error:
        case TimeoutError() if not error.args:
            return "no answer in time"
        case asyncio.IncompleteReadError():
            return "the connection was closed"
        case OSError() if (error.errno or 0) > 0 and not isinstance(error, ssl.SSLError):
            return os.strerror(error.errno or 0)  # asyncio makes one text of all its errors
        case OSError() if error.strerror:
            return _bounded(error.strerror)
    return _bounded(" ".join(str(argument) for argument in error.args) or type(error).__name__)


def _refusal(error: BaseException, target: RabbitMqTarget) -> str | None:
    """Why waiting will not help, with the setting; None if it may help."""
    for cause in causes(error):
        words = in_words(cause)
        match cause:
            case driver.ProbableAuthenticationError() | driver.AuthenticationError():
                return f"refuses the login (RABBITMQ_USER, RABBITMQ_PASS): {words}"
            case driver.ChannelAccessRefused():
                return f"{words}; {_RIGHTS}"
            case driver.ChannelPreconditionFailed() if "inequivalent arg" in words:
                return f"{words}; {_OTHER_KIND}"
            case driver.ConnectionNotAllowed():
                return f"RABBITMQ_VHOST: {words}"
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted (RABBITMQ_TLS_CA_FILE): {cause.verify_message}"
            case ssl.SSLError() if not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                return f"TLS is refused (RABBITMQ_TLS, RABBITMQ_TLS_CERT_FILE): {words.partition(' (_ssl.c:')[0]}"
    return None


def _bounded(text: str) -> str:
    return one_line(re.sub(r"\s+", " ", text).strip(), _MAX_LENGTH)
