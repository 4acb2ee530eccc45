"""What a worker process registers: asynq's ServerInfo."""

import pytest

from peekaping_producer.transports.asynq.protobuf import bytes_field, int_field, text_field
from peekaping_producer.transports.asynq.server_info import ServerInfo, decode_server_info

QUEUES = bytes_field(5, text_field(1, "healthcheck") + int_field(2, 1))
INFO = text_field(1, "host") + int_field(2, 7) + int_field(4, 10) + QUEUES + text_field(7, "active") + int_field(9, 3)


def test_a_worker_process_and_when_it_was_started() -> None:
    started = bytes_field(8, int_field(1, 1_700_000_000) + int_field(2, 250_000_000))
    expected = ServerInfo("host", 7, 10, ("healthcheck",), "active", 3, 1_700_000_000_250)
    assert decode_server_info(INFO + started) == expected


@pytest.mark.parametrize("stamp", [b"", bytes_field(8, b"\xff"), int_field(8, 5), bytes_field(8, int_field(1, 2**50))])
def test_without_a_usable_time_the_rest_is_decoded(stamp: bytes) -> None:
    found = decode_server_info(INFO + stamp)
    assert found == ServerInfo("host", 7, 10, ("healthcheck",), "active", 3)


def test_malformed_bytes_are_none() -> None:
    assert decode_server_info(b"\xff") is None
