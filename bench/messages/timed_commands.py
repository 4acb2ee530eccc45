"""A command of the product that also writes when RabbitMQ confirmed.

    python -m bench.messages.timed_commands FILE relay OPTIONS

For each call of the publisher a line: how many messages are settled, and when, by time.monotonic().
"""

import sys
import time
from collections.abc import Sequence

from peekaping_producer.cli.main import main
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.publisher import PublishResult
from peekaping_producer.transports.rabbitmq.publisher import RabbitMqPublisher


def _write_times(path: str) -> None:
    times = open(path, "a", buffering=1)  # noqa: SIM115 - until the process ends
    publish = RabbitMqPublisher.publish

    async def timed(self: RabbitMqPublisher, messages: Sequence[Message]) -> PublishResult:
        result = await publish(self, messages)
        times.write(f"{result.settled} {time.monotonic()}\n")
        return result

    RabbitMqPublisher.publish = timed  # type: ignore[method-assign]


if __name__ == "__main__":
    _write_times(sys.argv.pop(1))
    sys.exit(main())
