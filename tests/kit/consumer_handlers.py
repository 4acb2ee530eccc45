"""Handlers of a consumer in worker processes."""

import os
import signal
import time

from peekaping_producer.errors import RejectedMessageError
from peekaping_producer.messages.retries import RetryLaterError
from peekaping_producer.transports.message import Message


def by_id(message: Message) -> None:
    """What the id asks for; nothing for others."""
    match message.id:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "never":
            raise RejectedMessageError("malformed")
        case "hang":
            time.sleep(600)
        case "later":
            raise RetryLaterError(3600)


def id_of(message: Message) -> dict[str, str]:
    return {"id": message.id}
