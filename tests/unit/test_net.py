import socket
import time
from typing import Any

import pytest

from peekaping_producer.service.net import resolve, shares


async def test_an_address_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    for address in ("127.0.0.1", "::1", "fe80::1%eth0"):
        assert await resolve(address, 6379) == [address]


async def test_each_address_of_a_name_is_returned_once_with_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[Any] = [("192.0.2.1", 1), ("fe80::1", 1, 0, 2), ("fe80::1", 1, 0, 0), ("192.0.2.1", 1)]
    found = [(socket.AF_UNSPEC, socket.SOCK_STREAM, 0, "", place) for place in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    assert await resolve("name.example", 1) == ["192.0.2.1", "fe80::1%2", "fe80::1"]


def test_addresses_share_the_time_that_is_left() -> None:
    ends_at = time.monotonic() + 60
    (first, first_s), (second, second_s) = shares(["a", "b"], ends_at)
    assert (first, second) == ("a", "b")
    assert first_s == pytest.approx(30, abs=5)
    assert second_s == pytest.approx(60, abs=5)
