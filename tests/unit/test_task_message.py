"""asynq's TaskMessage, encoded and decoded."""

import base64
import contextlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peekaping_producer.errors import UndecodableMessageError
from peekaping_producer.transports.asynq.protobuf import varint
from peekaping_producer.transports.asynq.task_message import TaskMessage, TaskTemplate, decode, decode_task, encode
from tests.kit import asynq_peer

GOLDEN = Path(__file__).parent.parent / "golden" / "tasks.jsonl"
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(max_size=300)
MESSAGES = st.builds(
    TaskMessage,
    type=TEXT,
    payload=st.binary(max_size=400),
    id=TEXT,
    queue=TEXT,
    retry=INT32,
    retried=INT32,
    error_msg=TEXT,
    timeout=INT64,
    deadline=INT64,
    unique_key=TEXT,
    last_failed_at=INT64,
    retention=INT64,
    completed_at=INT64,
    group_key=TEXT,
)
FULL = TaskMessage("t", b"p", "i", "q", 1, 2, "e", 3, 4, "u", 5, 6, 7, "g")


@given(MESSAGES)
def test_a_decoded_message_is_the_encoded_one(message: TaskMessage) -> None:
    assert decode(encode(message)) == message


@given(MESSAGES, TEXT, st.binary(max_size=400))
def test_a_template_encodes_to_the_same_bytes(message: TaskMessage, task_id: str, payload: bytes) -> None:
    task = msgspec.structs.replace(message, id=task_id, payload=payload)
    assert TaskTemplate(message).encode(task_id, payload) == encode(task)


def test_what_go_wrote_is_decoded_and_encoded_to_the_same_bytes() -> None:
    """An independent decoder agrees."""
    with GOLDEN.open(encoding="utf-8") as lines:
        tasks = [task for line in lines if (task := json.loads(line)["task"])]
    assert len(tasks) > 40
    for task in tasks:
        data = base64.b64decode(task["msg_b64"])
        message, peer = decode(data), asynq_peer.decode(data)
        assert encode(message) == data
        assert (message.type, message.payload, message.id, message.queue, message.timeout) == (
            *(peer.type, peer.payload, peer.id, peer.queue, peer.timeout),
        )


def test_every_field_has_its_number_and_wire_type() -> None:
    assert encode(FULL) == (
        b"\x0a\x01t\x12\x01p\x1a\x01i\x22\x01q\x28\x01\x30\x02\x3a\x01e\x40\x03\x48\x04\x52\x01u\x58\x05\x60\x06\x68\x07"
        b"\x72\x01g"
    )


def test_an_empty_message_has_only_zero_values() -> None:
    assert decode(b"") == TaskMessage()
    assert encode(TaskMessage()) == b""


def test_a_negative_number_has_ten_bytes_and_an_int32_is_cut() -> None:
    assert encode(TaskMessage(timeout=-1)) == b"\x40" + b"\xff" * 9 + b"\x01"
    assert decode(b"\x28" + varint(2**32 + 5)).retry == 5


UNKNOWN = [
    b"\x78\x01",  # field 15, varint
    b"\x79" + b"8" * 8,  # 64 bits
    b"\x7a\x02xx",  # bytes
    b"\x7d" + b"4" * 4,  # 32 bits
    b"\x7b\x08\x01\x83\x01\x84\x01\x7c",  # a group with a number and a group inside
    b"\xfa\x7f\x01x",  # a field number of two bytes
    b"\x08\x01",  # field 1, which is text, as a number
]


@pytest.mark.parametrize("field", UNKNOWN, ids=lambda field: field.hex())
def test_an_unknown_field_is_kept(field: bytes) -> None:
    message = decode(field + encode(FULL))
    assert message.unknown == field
    assert encode(message) == encode(FULL) + field


def test_the_last_of_a_repeated_field_counts() -> None:
    assert decode(encode(TaskMessage(id="first", retry=1)) + encode(TaskMessage(id="last", retry=2))) == TaskMessage(
        id="last", retry=2
    )


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\x0a", "a number without an end"),
        (b"\x0a\x05abc", "a field that is longer than the data"),
        (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a field that is longer than the data"),
        (b"\x40" + b"\xff" * 11, "a number without an end"),
        (b"\x00\x01", "field number 0"),
        (b"\x0f", "wire type 7"),
        (b"\x0c", "wire type 4"),
        (b"\x7b\x08\x01", "a number without an end"),
        (b"\x7b\x84\x01", "the end of another group"),
        (b"\x79xx", "a field that is longer than the data"),
        (b"not protobuf", "wire type 6"),
    ],
)
def test_malformed_bytes_are_one_clear_error(data: bytes, found: str) -> None:
    with pytest.raises(UndecodableMessageError) as raised:
        decode(data)
    assert str(raised.value) == f"task message: expected protobuf, got {found}"


def test_text_that_is_not_utf8_is_malformed() -> None:
    with pytest.raises(UndecodableMessageError, match="expected text in UTF-8, got other bytes"):
        decode(b"\x1a\x01\xff")


@given(st.binary(max_size=60))
def test_no_bytes_raise_another_error(data: bytes) -> None:
    with contextlib.suppress(UndecodableMessageError):
        decode(data)


def test_the_key_of_a_task_counts_not_what_its_message_contains() -> None:
    assert decode_task(encode(TaskMessage(type="t", id="other", queue="q")), "id", "q")[0] == TaskMessage(
        "t", b"", "id", "q"
    )
