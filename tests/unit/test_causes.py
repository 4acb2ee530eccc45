"""The causes of an exception."""

from peekaping_producer.service.causes import causes
from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.rabbitmq.failures import as_ours


def test_causes_come_once_each_and_an_explicit_one_hides_the_context() -> None:
    first, second, hidden = ValueError(), OSError(), KeyError()
    first.__cause__, first.__context__ = second, hidden
    assert list(causes(first)) == [first, second]
    second.__context__ = hidden
    assert list(causes(first)) == [first, second, hidden]
    second.__suppress_context__ = True
    assert list(causes(first)) == [first, second]


def test_causes_in_a_circle_end() -> None:
    """aiormq makes one when RabbitMQ is killed during the handshake; the event loop stood still, SIGTERM included."""
    first, second = ConnectionResetError(104, "reset"), ConnectionError("closed")
    first.__context__, second.__context__ = second, first
    assert list(causes(first)) == [first, second]
    assert "reset" in str(as_ours(first, RabbitMqTarget())).lower()
