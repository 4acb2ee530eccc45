"""MessageCommand: its JSON, and its errors."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peekaping_producer.errors import MessageCommandError
from peekaping_producer.processes import MessageCommand

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(command=st.text(), arguments=st.lists(JSON, max_size=4))
def test_the_text_of_json_dumps_comes_back_equal(command: str, arguments: list[Any]) -> None:
    text = json.dumps({"command": command, "arguments": arguments})
    message = MessageCommand.from_json(text)
    assert (message.command, message.arguments) == (command, arguments)
    assert message.to_json() == text
    assert MessageCommand.from_json(text.encode()) == message


def test_it_is_frozen_and_has_two_fields() -> None:
    message = MessageCommand("hi", [])
    assert [field.name for field in dataclasses.fields(message)] == ["command", "arguments"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.command = "other"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "expected JSON"),
        ("{", "expected JSON"),
        ("[" * 100_000, "too deeply nested"),
        ("9" * 5_000, "expected JSON"),
        (b"\xff{}", "expected JSON"),
        ("[]", "expected a JSON object"),
        ('"hi"', "expected a JSON object"),
        ("{}", "a field command and a field arguments"),
        ('{"command": "hi"}', "expected a field arguments"),
        ('{"arguments": []}', "expected a field command"),
        ('{"command": "hi", "arguments": [], "id": 1}', "'id'"),
        ('{"command": 1, "arguments": []}', "command: expected a text, got 1"),
        ('{"command": "hi", "arguments": "hi"}', "arguments: expected a list, got 'hi'"),
        ('{"command": "hi", "arguments": {}}', "arguments: expected a list"),
        (None, "expected JSON as text, got None"),
    ],
)
def test_a_text_that_is_no_command_is_one_clear_error(text: Any, named: str) -> None:
    with pytest.raises(MessageCommandError) as raised:
        MessageCommand.from_json(text)
    assert named in str(raised.value)
    assert len(str(raised.value)) < 400
    assert isinstance(raised.value, ValueError)


def test_arguments_that_json_cannot_express_are_named() -> None:
    with pytest.raises(MessageCommandError, match=r"arguments: expected values that JSON can express .*set"):
        MessageCommand("hi", [{1}]).to_json()
    with pytest.raises(MessageCommandError, match="arguments: expected a list"):
        MessageCommand("hi", ("a",))
