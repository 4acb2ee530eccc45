"""docs/rabbitmq.md: its example runs as it is printed."""

import asyncio
import re
from pathlib import Path

import msgspec
import pytest

from peekaping_producer.targets import RabbitMqTarget
from tests.kit.rabbitmq import RabbitMqApi

PAGE = Path(__file__).parents[2] / "docs" / "rabbitmq.md"
TARGET = 'RabbitMqTarget(host="127.0.0.1", user="admin", password="password", queue="orders")'


def example() -> str:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return str(block)


async def test_the_example_publishes_and_receives(
    rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert TARGET in example()
    target = msgspec.structs.replace(rabbitmq, queue="orders")
    text = example().replace(TARGET, "GIVEN")
    await asyncio.to_thread(exec, compile(text, str(PAGE), "exec"), {"GIVEN": target})
    assert capsys.readouterr().out.splitlines() == [
        "PublishResult(settled=2, refused={})",
        "order-1 b'Hello' attempt 1",
    ]
    (dead,) = rabbitmq_api.take(target, "orders.dead")
    assert dead["properties"]["headers"]["x-reason"] == "no handler for it"
    assert rabbitmq_api.take(target) == []
