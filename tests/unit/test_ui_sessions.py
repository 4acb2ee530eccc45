"""Cookies of sessions, and the limits of wrong tokens, without a server."""

from contextlib import suppress
from typing import AnyStr

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peekaping_producer.settings import UiAccess
from peekaping_producer.ui.access import attempts
from peekaping_producer.ui.access.attempts import Attempts
from peekaping_producer.ui.access.clients import Client
from peekaping_producer.ui.access.gate import Gate
from peekaping_producer.ui.access.line_limit import LineLimit
from peekaping_producer.ui.access.roles import Role
from peekaping_producer.ui.access.sessions import NAME, ForgedCookieError, Sessions
from peekaping_producer.web.refusals import RequestError
from tests.kit.ui_access import READ_TOKEN, TOKEN

ACCESS = UiAccess(token=TOKEN, read_token=READ_TOKEN)
NOW = 1_795_351_066.0


def sessions() -> Sessions:
    return Sessions(ACCESS, lambda: NOW)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=0x1FF), max_size=200))
@example("1" * 12 + ".act." + "n" * 16 + "." + "m" * 43)
@example("١" * 10 + ".act." + "n" * 16 + "." + "m" * 43)
def test_no_invented_cookie_gives_a_right(cookie: str) -> None:
    try:
        assert sessions().role_of(cookie) is Role.NONE
    except ForgedCookieError:
        assert cookie.count(".") == 3


@settings(deadline=None)
@given(st.sampled_from([Role.SEE, Role.ACT]), st.data())
def test_a_cookie_with_one_changed_character_gives_no_right(role: Role, data: st.DataObject) -> None:
    cookie = sessions().issue(role)
    at = data.draw(st.integers(0, len(cookie) - 1))
    other = data.draw(st.sampled_from("0189azAZ-_.=").filter(lambda character: character != cookie[at]))
    assert sessions().role_of(cookie) is role
    with suppress(ForgedCookieError):
        assert sessions().role_of(f"{cookie[:at]}{other}{cookie[at + 1 :]}") is Role.NONE


@settings(deadline=None)
@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=300))
@example(f'{NAME}="')
@example(f"{NAME}={'9' * 5000}.act.x.y")
@example("=" * 1000)
@example(f"{NAME}; {NAME}=; ={NAME}; $Version=1")
def test_no_cookie_header_raises_or_gives_a_right(header: str) -> None:
    visitor = Gate(ACCESS).visitor(make_mocked_request("GET", "/api/frames", headers={"Cookie": header}))
    assert visitor.role is Role.NONE


def test_tokens_and_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: AnyStr, other: AnyStr) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    gate, client = Gate(ACCESS), Client("192.0.2.7", None, False)
    assert gate.role_of_token(TOKEN, client) is Role.ACT
    with pytest.raises(RequestError):
        gate.role_of_token("x", client)
    assert compared == [(32, 32)] * 4, "each with both tokens, as hashes"
    cookie = gate.sessions.issue(Role.SEE)
    assert gate.sessions.role_of(cookie) is Role.SEE
    with pytest.raises(ForgedCookieError):
        gate.sessions.role_of(f"{cookie[:-43]}{'m' * 43}")
    assert compared[4:] == [(43, 43)] * 2


def test_a_cookie_among_others_is_found() -> None:
    gate = Gate(ACCESS)
    cookie = gate.sessions.issue(Role.SEE)
    header = f'a=b; {NAME}x=1; other="x;y"; {NAME}={cookie}; __Host-z=1'
    assert gate.visitor(make_mocked_request("GET", "/", headers={"Cookie": header})).role is Role.SEE


def test_two_cookies_of_one_second_differ() -> None:
    assert sessions().issue(Role.ACT) != sessions().issue(Role.ACT)


def test_wrong_tokens_of_one_minute_are_counted_by_network_and_value() -> None:
    now = 0.0
    tries = Attempts(lambda: now)
    for number in range(4):
        tries.count(f"2001:db8::{number}", f"guess {number}")
        tries.count(f"2001:db8::{number}", f"guess {number}")
        now += 10
    assert tries.wait_s("2001:db8::9") == 0
    tries.count("2001:db8::9", "guess 4")
    assert tries.wait_s("2001:db8::1") == 20
    assert tries.wait_s("2001:db8:0:1::1") == 0
    now = 59.5
    assert tries.wait_s("2001:db8::1") == 1
    now = 60
    assert tries.wait_s("2001:db8::1") == 0
    tries.count("2001:db8::1", "guess 5")
    assert tries.wait_s("2001:db8::1") == 10


def test_the_memory_for_wrong_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MAX_CLIENTS", 10)
    tries = Attempts(lambda: 0.0)
    for number in range(100):
        for guess in range(20):
            tries.count("192.0.2.255", f"guess {guess}")
            tries.count(f"192.0.2.{number}", f"guess {guess}")
    assert len(tries._wrong) == 10
    assert max(map(len, tries._wrong.values())) <= 20
    assert tries.wait_s("192.0.2.255") > 0


def test_lines_are_limited_and_the_omitted_ones_counted() -> None:
    now = 0.0
    limit = LineLimit(lambda: now)
    assert [limit.omitted() for _ in range(12)] == [0] * 10 + [None] * 2
    now = 60
    assert limit.omitted() == 2
    assert limit.omitted() == 0
