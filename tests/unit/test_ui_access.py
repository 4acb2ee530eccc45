"""Who may see the page, and who may act: each rule with its counter-case, over a real server."""

import asyncio

import msgspec
import pytest

from peekaping_producer.settings import UiAccess
from tests.kit.processes import HOST
from tests.kit.ui_access import (
    BEARER,
    BOTH,
    LOCAL,
    OTHER_ADDRESS,
    PROXIED,
    PUBLIC,
    READ_TOKEN,
    TOKEN,
    Page,
    basic,
    page,
)


@pytest.mark.parametrize(
    ("access", "headers", "sees", "acts"),
    [
        (BOTH, {}, 401, 401),
        (BOTH, {"Authorization": f"Bearer {TOKEN}"}, 200, 200),
        (BOTH, {"Authorization": f"bearer  {TOKEN} "}, 200, 200),
        (BOTH, {"Authorization": f"Bearer {READ_TOKEN}"}, 200, 403),
        (BOTH, basic(TOKEN), 200, 200),
        (BOTH, basic(READ_TOKEN), 200, 403),
        (BOTH, {"Authorization": f"Bearer {TOKEN}x"}, 401, 401),
        (BOTH, {"Authorization": f"Bearer {TOKEN[:-1]}"}, 401, 401),
        (BOTH, {"Authorization": "Bearer "}, 401, 401),
        (BOTH, {"Authorization": TOKEN}, 401, 401),
        (BOTH, {"Authorization": "Basic !"}, 401, 401),
        (BOTH, {"Authorization": "Digest x"}, 401, 401),
        (BOTH, basic("wrong token"), 401, 401),
        (UiAccess(token=TOKEN), {"Authorization": "Bearer "}, 401, 401),
        (UiAccess(token=TOKEN), {}, 401, 401),
        (UiAccess(read_token=READ_TOKEN), {"Authorization": f"Bearer {READ_TOKEN}"}, 200, 403),
        (PUBLIC, {}, 200, 403),
        (PUBLIC, {"Authorization": "Bearer wrong token"}, 401, 401),
        (PUBLIC, {"Authorization": f"Bearer {TOKEN}"}, 200, 200),
        (LOCAL, {}, 200, 403),
        (LOCAL, {"Authorization": "Bearer anything"}, 200, 403),
        (PROXIED, {}, 401, 401),
        (PROXIED, {"X-Forwarded-User": "anna"}, 200, 200),
        (PROXIED, {"X-Forwarded-User": "bo"}, 200, 403),
        (PROXIED, {"X-Forwarded-User": "Anna"}, 200, 403),
        (PROXIED, {"X-Forwarded-User": "*"}, 200, 403),
        (PROXIED, {"X-Forwarded-User": ""}, 401, 401),
        (PROXIED, {"X_Forwarded_User": "anna"}, 401, 401),
        (PROXIED, {"X-Forwarded-User": "a" * 101}, 400, 400),
        (PROXIED, {"X-Forwarded-User": "\u202eanna"}, 400, 400),
        (msgspec.structs.replace(PROXIED, act_users=frozenset({"*"})), {"X-Forwarded-User": "bo"}, 200, 200),
        (msgspec.structs.replace(PROXIED, token=TOKEN), {"X-Forwarded-User": "bo"} | BEARER, 200, 403),
    ],
)
async def test_a_request_may_see_and_act_as_its_credentials_permit(
    access: UiAccess, headers: dict[str, str], sees: int, acts: int
) -> None:
    async with page(access) as running:
        assert (await running.get(headers=headers)).status == sees
        assert (await running.act(headers | running.origin)).status == acts
        for path in ("/", "/monitors/3f0d"):
            assert "<!doctype html>" in (await running.get(path, headers)).body["text"].lower()


async def test_a_user_header_from_another_address_than_the_proxys_is_ignored() -> None:
    async with page(PROXIED) as running:
        user = {"X-Forwarded-User": "anna"}
        assert (await running.get(headers=user)).status == 200
        assert (await running.get(headers=user, client=OTHER_ADDRESS)).status == 401
        assert (await running.act(user | running.origin, client=OTHER_ADDRESS)).status == 401


async def test_a_user_header_that_is_sent_twice_is_refused() -> None:
    async with page(PROXIED) as running:
        answer = await running.get(headers=[("X-Forwarded-User", "anna"), ("X-Forwarded-User", "bo")])
        assert answer.status == 400
        assert "expected one name" in answer.body["error"]


async def test_a_token_that_is_sent_twice_is_refused() -> None:
    async with page(BOTH) as running:
        right, other = ("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer other token")
        for headers in ([right, other], [other, right], [right, right]):
            assert (await running.get(headers=headers)).status == 401


async def test_a_token_in_the_header_needs_no_origin_also_beside_a_session() -> None:
    async with page(BOTH) as running:
        cookie = {"Cookie": (await running.log_in()).cookie}
        assert (await running.act(cookie | BEARER)).status == 200
        assert (await running.act(cookie | {"Authorization": f"Bearer {READ_TOKEN}"})).status == 403


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ([], HOST),
        (["192.0.2.7"], "192.0.2.7"),
        (["6.6.6.6, 192.0.2.7"], "192.0.2.7"),
        (["6.6.6.6", "192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, 10.1.1.1"], "192.0.2.7"),
        (["192.0.2.7:4711"], "192.0.2.7"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["6.6.6.6, unknown"], HOST),
        (["6.6.6.6, unknown, 10.1.1.1"], "10.1.1.1"),
        (["," * 5000], HOST),
        (["10.1.1.1," * 500 + "10.1.1.1"], "10.1.1.1"),
    ],
)
async def test_the_client_behind_proxies_is_the_last_address_that_is_no_proxys(
    forwarded: list[str], address: str
) -> None:
    async with page(msgspec.structs.replace(PROXIED, is_public=True)) as running:
        headers = [("X-Forwarded-For", text) for text in forwarded]
        assert (await running.get(headers=headers)).body["address"] == address
        spoofed = await running.get(headers=headers, client=OTHER_ADDRESS)
        assert spoofed.body["address"] == OTHER_ADDRESS


@pytest.mark.parametrize(
    ("access", "headers", "session"),
    [
        (LOCAL, {}, (True, False, "Set UI_TOKEN to allow actions.", False)),
        (PUBLIC, {}, (True, False, "Log in with the token of UI_TOKEN to act.", True)),
        (PUBLIC, BEARER, (True, True, None, False)),
        (BOTH, {}, (False, False, "Log in to see the monitors.", True)),
        (UiAccess(read_token=READ_TOKEN), {}, (False, False, "Log in to see the monitors.", True)),
        (
            PROXIED,
            {},
            (False, False, "A proxy of UI_PROXY_FROM must send the user in X-Forwarded-User.", False),
        ),
        (PROXIED, {"X-Forwarded-User": "anna"}, (True, True, None, False)),
        (
            PROXIED,
            {"X-Forwarded-User": "bo"},
            (True, False, "bo is not one of the users of UI_ACT_USERS.", False),
        ),
    ],
)
async def test_the_session_says_what_the_browser_may_do_and_why_not_more(
    access: UiAccess, headers: dict[str, str], session: tuple[bool, bool, str | None, bool]
) -> None:
    async with page(access) as running:
        body = (await running.get("/api/session", headers)).body
        assert (body["can_see"], body["can_act"], body["why_not"], body["can_log_in"]) == session
        assert (body["user"], body["can_log_out"]) == (headers.get("X-Forwarded-User"), False)


async def raw(running: Page, request: bytes) -> bytes:
    """The status line of the answer to bytes that no client library sends."""
    reader, writer = await asyncio.open_connection(HOST, running.port)
    writer.write(request)
    await writer.drain()
    async with asyncio.timeout(10):
        line = await reader.readline()
    writer.close()
    return line


@pytest.mark.parametrize(
    "lines",
    [
        [b"Host: localhost", b"Host: evil.example"],
        [b"Host: localhost\x00.evil.example"],
        [b"Host: localhost", b"Authorization: Bearer \x00"],
        [b"Host: localhost", b"Cookie: " + b"x" * 8200],
        [b"Host: localhost", b"Cookie : " + TOKEN.encode()],
        [b"Host: localhost", b"X-Forwarded-User: anna\rX-Other: x"],
        [b"Host: localhost", b"X-Forwarded-User\x0b: anna"],
        [b"Host: localhost", b"Content-Length: 3", b"Transfer-Encoding: chunked"],
        [b"Host: localhost", b"Content-Length: 3", b"Content-Length: 4"],
        [b"Host: localhost", b"Content-Length: +3"],
    ],
)
async def test_a_request_that_two_servers_may_read_differently_is_malformed(lines: list[bytes]) -> None:
    async with page(msgspec.structs.replace(PROXIED, token=TOKEN)) as running:
        request = b"\r\n".join([b"GET /api/frames HTTP/1.1", *lines, b"", b"abc"])
        assert (await raw(running, request)).split()[1] == b"400"


@pytest.mark.parametrize(
    "path",
    [
        "//api/frames",
        "/api//frames",
        "/API/frames",
        "/%61pi/frames",
        "/api/frames/",
        "/static/../api/frames",
        "/api/%66rames?x=/",
        "http://localhost/api/frames",
    ],
)
async def test_no_spelling_of_a_path_avoids_the_check(path: str) -> None:
    async with page(BOTH) as running:
        line = await raw(running, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert line.split()[1] in {b"401", b"404"}


async def test_junk_of_8_kb_in_every_header_is_refused_or_ignored() -> None:
    names = ["Cookie", "Authorization", "Origin", "Sec-Fetch-Site", "X-Forwarded-For", "X-Forwarded-User", "Host"]
    async with page(msgspec.structs.replace(PROXIED, token=TOKEN)) as running:
        for name in names:
            for junk in ("=;" * 4000, ", " * 4000 + "x", "\xe9" * 4000, "a" * 8000):
                answer = await running.act({name: junk})
                assert answer.status in {400, 401, 403, 429}, (name, junk[:10], answer.body)
                assert len(str(answer.body)) < 500
