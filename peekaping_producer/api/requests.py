"""The bodies of requests, and the messages that they become."""

import uuid
from typing import Annotated, Literal

import msgspec

from peekaping_producer.messages.handlers import MAX_PROCESSING_TIME_S
from peekaping_producer.transports.message import MAX_ID_BYTES, Message, id_problem
from peekaping_producer.web.bodies import decode_any, decoded, invalid, located, malformed

_CONTENT_TYPE = "application/json"


class MessageToProduce(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One message."""

    id: Annotated[
        str, msgspec.Meta(min_length=1, max_length=MAX_ID_BYTES, description=f"1 to {MAX_ID_BYTES} bytes in UTF-8.")
    ]
    payload: Annotated[msgspec.Raw, msgspec.Meta(description="Any JSON value.")]
    processing_time: Annotated[
        float, msgspec.Meta(ge=0, le=MAX_PROCESSING_TIME_S, description="Seconds that the consumer waits.")
    ] = 0.0


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """Messages in order."""

    messages: Annotated[list[MessageToProduce], msgspec.Meta(min_length=1)]


class DatetimeMessage(msgspec.Struct, forbid_unknown_fields=True):
    """The message of `peekaping-producer send`."""

    datetime: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$")]
    environment: Literal["prod", "test"]


class StoredMessage(DatetimeMessage, kw_only=True, forbid_unknown_fields=True):
    """The same with the id of the message."""

    id: str


_decode_message = msgspec.json.Decoder(MessageToProduce).decode
_decode_batch = msgspec.json.Decoder(Batch).decode
_decode_datetime = msgspec.json.Decoder(DatetimeMessage).decode


def message_of(body: bytes) -> Message:
    """The message in the body of /produce. Raises RequestError."""
    return _as_message(decoded(body, _decode_message), "$")


def batch_of(body: bytes) -> list[Message]:
    """The messages in the body of /batch-produce. Raises RequestError."""
    batch = decoded(body, _decode_batch).messages
    return [_as_message(message, f"$.messages[{index}]") for index, message in enumerate(batch)]


def stored_message_of(body: bytes) -> StoredMessage:
    """The message in the body of /api/messages, with a new id. Raises RequestError."""
    message = decoded(body, _decode_datetime)
    return StoredMessage(message.datetime, message.environment, id=str(uuid.uuid4()))


def as_json_message(message_id: str, body: bytes) -> Message:
    """A message whose body is JSON."""
    return Message(message_id, body, _CONTENT_TYPE)


def _as_message(message: MessageToProduce, path: str) -> Message:
    """The message with its JSON as the body. The payload keeps its numbers as they were written."""
    if problem := id_problem(message.id):
        raise invalid(f"{path}.{problem}")
    try:
        decode_any(message.payload)  # which was only skipped so far
    except msgspec.ValidationError as error:
        raise invalid(located(str(error), f"{path}.payload")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(error) from None
    body = msgspec.json.encode(message)
    if b"\n" in body or b"\r" in body:  # a sink writes a message as a line
        body = msgspec.json.format(body, indent=-1)
    return as_json_message(message.id, body)
