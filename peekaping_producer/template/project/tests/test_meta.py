import json
import subprocess
import sys
from pathlib import Path

import pytest

import meta
import src.meta
from src.meta import MessageCommand

ROOT = Path(__file__).parents[1]
MESSAGE = json.dumps({"command": "hi_request", "arguments": ["hi!", "é"]})


def test_a_message_is_the_same_text_again() -> None:
    message = MessageCommand.from_json(MESSAGE)
    assert (message.command, message.arguments) == ("hi_request", ["hi!", "é"])
    assert message.to_json() == MESSAGE
    assert message == MessageCommand("hi_request", ["hi!", "é"])


def test_both_names_of_the_package_lead_to_the_same_classes() -> None:
    assert meta.MessageCommand is src.meta.MessageCommand


@pytest.mark.parametrize("names", [("meta", "src.meta"), ("src.meta", "meta")])
def test_in_any_order(names: tuple[str, str]) -> None:
    first, second = names
    code = (
        f"from {first}.message_command import MessageCommand as A; from {second}.message_command import "
        f"MessageCommand as B; from {second} import MessageCommand as C; assert A is B is C"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}, check=True)
