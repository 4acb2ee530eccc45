"""Addresses of clients, and the networks by which they are limited."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peekaping_producer.web.addresses import network_of, parse_address


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1%eth0", "2001:db8:1:2::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_ipv6_clients_count_by_64_bits(address: str, network: str) -> None:
    assert network_of(address) == network


@given(st.text(max_size=60))
def test_texts_that_are_no_addresses_are_none(text: str) -> None:
    address = parse_address(text)
    assert address is None or any(character in text for character in ".:")
