"""Who may see the page, and who may act: each rule with its counter-case, over a real server."""

import asyncio
import ipaddress
from base64 import b64encode

import msgspec
import pytest
from structlog.testing import capture_logs

from peekaping_producer.settings import UiAccess
from peekaping_producer.ui.access.attempts import MAX_WRONG, PERIOD_S
from peekaping_producer.ui.access.line_limit import MAX_LINES
from peekaping_producer.ui.access.sessions import LIFETIME_S, NAME, SECURE_PREFIX
from tests.kit.processes import HOST
from tests.kit.ui_access import BEARER, OTHER_ADDRESS, READ_TOKEN, TOKEN, Page, Times, page

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
BOTH = UiAccess(token=TOKEN, read_token=READ_TOKEN)
LOCAL = UiAccess(is_public=True, hosts=LOCAL_NAMES)
PUBLIC = UiAccess(token=TOKEN, is_public=True)
PROXIED = UiAccess(
    proxies=(ipaddress.ip_network(f"{HOST}/32"), ipaddress.ip_network("10.0.0.0/8")),
    user_header="X-Forwarded-User",
    act_users=frozenset({"anna"}),
)
ORIGIN = {"Origin": "http://page.example"}


def basic(token: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'any:{token}'.encode()).decode()}"}


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


async def test_a_login_replaces_a_bad_cookie() -> None:
    async with page(BOTH) as running:
        bad = f"{NAME}-{running.port}={LIFETIME_S}.act.{'n' * 16}.{'m' * 43}"
        answer = await running.log_in(headers=running.origin | {"Cookie": bad})
        assert answer.status == 200
        assert (await running.get(headers={"Cookie": answer.cookie})).status == 200


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


async def test_a_browser_logs_in_and_out() -> None:
    async with page(BOTH) as running:
        answer = await running.log_in()
        assert answer.status == 200
        assert answer.body == {
            "version": 1,
            "user": None,
            "can_see": True,
            "can_act": True,
            "why_not": None,
            "can_log_in": False,
            "can_log_out": True,
        }
        attributes = answer.headers["Set-Cookie"].split("; ")[1:]
        assert set(attributes) == {"HttpOnly", f"Max-Age={LIFETIME_S}", "Path=/", "SameSite=Strict"}
        cookie = {"Cookie": answer.cookie}
        assert answer.cookie.startswith(f"{NAME}-{running.port}=")
        assert (await running.get(headers=cookie)).status == 200
        assert (await running.act(cookie | running.origin)).status == 200
        session = await running.get("/api/session", cookie)
        assert (session.body["can_act"], session.body["can_log_out"]) == (True, True)
        out = await running.request("POST", "/api/logout", running.origin | cookie)
        assert out.status == 200
        assert "Max-Age=0" in out.headers["Set-Cookie"]


async def test_the_read_token_gives_a_session_that_cannot_act() -> None:
    async with page(BOTH) as running:
        answer = await running.log_in(READ_TOKEN)
        assert (answer.body["can_see"], answer.body["can_act"]) == (True, False)
        cookie = {"Cookie": answer.cookie}
        assert (await running.get(headers=cookie)).status == 200
        refused = await running.act(cookie | running.origin)
        assert refused.status == 403
        assert refused.body == {"version": 1, "error": "Log in with the token of UI_TOKEN to act."}


async def test_under_https_the_cookie_is_secure() -> None:
    access = msgspec.structs.replace(PROXIED, token=TOKEN)
    async with page(access) as running:
        https = {"X-Forwarded-Proto": "https"}
        answer = await running.log_in(headers=https | running.origin)
        assert answer.cookie.startswith(f"{SECURE_PREFIX}{NAME}-{running.port}=")
        assert "Secure" in answer.headers["Set-Cookie"].split("; ")
        assert (await running.get(headers=https | {"Cookie": answer.cookie})).status == 200
        assert (await running.get(headers={"Cookie": answer.cookie})).status == 401
        plain = answer.cookie.removeprefix(SECURE_PREFIX)
        assert (await running.get(headers=https | {"Cookie": plain})).status == 401
        elsewhere = await running.log_in(headers=https | running.origin, client=OTHER_ADDRESS)
        assert elsewhere.cookie.startswith(NAME)
        for value, is_secure in (("http, https", True), ("https, http", False)):
            answer = await running.log_in(headers={"X-Forwarded-Proto": value} | running.origin)
            assert answer.cookie.startswith(SECURE_PREFIX) == is_secure
        twice = [("X-Forwarded-Proto", "http"), ("X-Forwarded-Proto", "https"), *running.origin.items()]
        assert (await running.log_in(headers=twice)).cookie.startswith(SECURE_PREFIX)


async def test_every_replica_with_the_same_token_accepts_a_session_and_no_other() -> None:
    times = Times()
    async with page(BOTH, times) as one, page(BOTH, times) as two:
        host = {"Host": "page.example"}  # of a load balancer
        cookie = host | {"Cookie": (await one.log_in(headers=host | ORIGIN)).cookie}
        assert (await two.act(cookie | ORIGIN)).status == 200
        reader = host | {"Cookie": (await one.log_in(READ_TOKEN, host | ORIGIN)).cookie}
        async with page(UiAccess(token="another token", read_token=READ_TOKEN), times) as changed:
            assert (await changed.get(headers=cookie)).status == 401
            assert (await changed.get(headers=reader)).status == 200
        async with page(UiAccess(token=READ_TOKEN), times) as changed:
            assert (await changed.get(headers=reader)).status == 401


async def test_the_pages_of_two_fleets_at_one_host_keep_their_sessions() -> None:
    async with page(BOTH) as one, page(UiAccess(token="another token")) as two:
        cookies = {"Cookie": f"{(await one.log_in()).cookie}; {(await two.log_in('another token')).cookie}"}
        for running in (one, two):
            answer = await running.get(headers=cookies)
            assert (answer.status, "Set-Cookie" in answer.headers) == (200, False)


async def test_a_session_expires() -> None:
    times = Times()
    async with page(BOTH, times) as running:
        cookie = {"Cookie": (await running.log_in()).cookie}
        times.go_on(LIFETIME_S - 1)
        assert (await running.get(headers=cookie)).status == 200
        times.go_on(1)
        answer = await running.get(headers=cookie)
        assert answer.status == 401
        assert "Max-Age=0" in answer.headers["Set-Cookie"]


def changed_cookies(cookie: str) -> list[str]:
    name, _, value = cookie.partition("=")
    expiry, role, nonce, mac = value.split(".")
    values = [
        f"{int(expiry) + 1}.{role}.{nonce}.{mac}",
        f"{expiry}.act.{nonce}.{mac}",
        f"{expiry}.{role}.{nonce[::-1]}.{mac}",
        f"{expiry}.{role}.{nonce}.{mac[::-1]}",
        f"{expiry}.{role}.{nonce}.{'A' * 43}",
        f"{expiry}.{role}.{nonce}.",
        f"{expiry}.{role}.{nonce}.{mac}.",
        f"{expiry}.{role}.{mac}",
        f"{expiry}.root.{nonce}.{mac}",
        f"-{value}",
        "",
        "." * 3,
        "9" * 4000,
    ]
    return [f"{name}={changed}" for changed in values]


@pytest.mark.parametrize("number", range(13))
async def test_a_changed_cookie_gives_no_right(number: int) -> None:
    async with page(BOTH) as running:
        cookie = (await running.log_in(READ_TOKEN)).cookie
        changed = changed_cookies(cookie)[number]
        assert (await running.get(headers={"Cookie": changed})).status == 401
        assert (await running.get(headers={"Cookie": cookie})).status == 200


async def test_after_five_wrong_tokens_no_other_is_compared_for_a_minute() -> None:
    times = Times()
    async with page(BOTH, times) as running:
        cookie = {"Cookie": (await running.log_in()).cookie}
        for number in range(MAX_WRONG):
            assert (await running.log_in(f"wrong token {number}")).status == 401
        refused = await running.log_in()
        assert (refused.status, refused.headers["Retry-After"]) == (429, str(int(PERIOD_S)))
        assert (await running.get(headers=BEARER)).status == 429
        assert (await running.get(headers=basic(TOKEN))).status == 429
        assert (await running.get(headers=cookie)).status == 200, "sessions go on"
        assert (await running.log_in(client=OTHER_ADDRESS)).status == 200, "so do others"
        times.go_on(PERIOD_S)
        assert (await running.log_in()).status == 200


async def test_a_script_with_an_old_token_does_not_lock_out_its_address() -> None:
    async with page(BOTH) as running:
        for _ in range(2 * MAX_WRONG):
            assert (await running.get(headers={"Authorization": "Bearer the old token"})).status == 401
        assert (await running.log_in()).status == 200


async def test_forged_cookies_are_guesses_too() -> None:
    async with page(BOTH) as running:
        cookie = {"Cookie": (await running.log_in()).cookie}
        async with page(BOTH, running.times) as other:
            value = (await other.log_in()).cookie.partition("=")[2]
            unknown = {"Cookie": f"{NAME}-{running.port}={value}"}
            for number in range(MAX_WRONG):
                forged = f"{NAME}-{running.port}={LIFETIME_S}{number}.act.{'n' * 16}.{'m' * 43}"
                assert (await running.get(headers={"Cookie": forged})).status == 401
            assert (await running.get(headers=unknown)).status == 401, "not compared"
            assert (await running.get(headers=cookie)).status == 200, "accepted before"
            assert (await running.log_in()).status == 200, "tokens are counted apart"
            running.times.go_on(PERIOD_S)
            assert (await running.get(headers=unknown)).status == 200


async def test_the_lines_about_wrong_tokens_are_limited_and_contain_none() -> None:
    async with page(msgspec.structs.replace(PROXIED, token=TOKEN)) as running:
        with capture_logs() as lines:
            for number in range(2 * MAX_LINES):
                wrong = {"X-Forwarded-For": f"192.0.2.{number}", "Authorization": f"Bearer guess-{number}"}
                assert (await running.get(headers=wrong)).status == 401
            running.times.go_on(60)
            await running.get(headers={"Authorization": "Bearer guess"})
        assert [line["event"] for line in lines] == ["login.refused"] * (MAX_LINES + 1)
        assert lines[0]["address"] == "192.0.2.0"
        assert lines[-1]["omitted"] == MAX_LINES
        assert "guess" not in str(lines)


@pytest.mark.parametrize(
    ("headers", "with_cookie", "with_bearer"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://elsewhere.example"}, 200, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "own"}, 403, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "own"}, 403, 403),
        ({"Sec-Fetch-Site": "none", "Origin": "own"}, 403, 403),
        ({"Sec-Fetch-Site": "", "Origin": "own"}, 403, 403),
        ({"Origin": "own"}, 200, 200),
        ({"Origin": "OWN"}, 200, 200),
        ({"Origin": "https"}, 200, 200),
        ({"Origin": "http://elsewhere.example"}, 403, 403),
        ({"Origin": f"http://{HOST}"}, 403, 403),
        ({"Origin": f"http://{HOST}:1"}, 403, 403),
        ({"Origin": "null"}, 403, 403),
        ({"Origin": ""}, 403, 403),
        ({"Origin": "http://["}, 403, 403),
        ({"Origin": "ftp"}, 403, 403),
        ({"Referer": "own"}, 403, 200),
        ({}, 403, 200),
    ],
)
async def test_an_act_that_another_web_site_may_have_caused_is_refused(
    headers: dict[str, str], with_cookie: int, with_bearer: int
) -> None:
    """As in a LAN over plain http, where browsers send no Sec-Fetch-Site."""
    async with page(BOTH) as running:
        own = {"own": f"http://{HOST}:{running.port}", "OWN": f"HTTP://{HOST}:{running.port}"}
        own |= {scheme: f"{scheme}://{HOST}:{running.port}" for scheme in ("https", "ftp")}
        given = {name: own.get(value, value) for name, value in headers.items()}
        cookie = {"Cookie": (await running.log_in()).cookie}
        assert (await running.act(given | cookie)).status == with_cookie
        assert (await running.act(given | basic(TOKEN))).status == with_cookie
        assert (await running.act(given | BEARER)).status == with_bearer
        assert (await running.log_in(headers=given)).status == with_cookie


async def test_other_web_sites_get_no_permission_in_advance() -> None:
    async with page(BOTH) as running:
        asked = {"Origin": "http://elsewhere.example", "Access-Control-Request-Method": "POST"}
        for path in ("/api/acts/hold", "/api/frames", "/api/login"):
            answer = await running.request("OPTIONS", path, asked)
            assert (answer.status, [name for name in answer.headers if name.startswith("Access-Control")]) == (405, [])


async def test_repeated_origins_must_all_be_the_pages() -> None:
    async with page(BOTH) as running:
        cookie = ("Cookie", (await running.log_in()).cookie)
        own, other = ("Origin", running.origin["Origin"]), ("Origin", "http://elsewhere.example")
        assert (await running.act([cookie, own])).status == 200
        assert (await running.act([cookie, own, other])).status == 403
        assert (await running.act([cookie, other, own])).status == 403
        sites = [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")]
        assert (await running.act([cookie, own, *sites])).status == 403


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)]
)
async def test_other_web_sites_cannot_read_either(site: str, status: int) -> None:
    async with page(LOCAL) as running:
        assert (await running.get(headers={"Sec-Fetch-Site": site})).status == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:9465", 200),
        ("127.0.0.1:9465", 200),
        ("[::1]:9465", 200),
        ("[::1]", 200),
        ("page.example", 200),
        ("evil.example", 403),
        ("evil.example:9465", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("evil.example#localhost", 403),
        ("localhost@evil.example", 403),
        ("evil.example@localhost", 403),
        ("localhost localhost", 403),
        ("localhost:9465:1", 403),
        ("192.0.2.7", 403),
        ("[::2]", 403),
        ("::1", 403),
        ("[localhost]", 403),
        ("", 403),
    ],
)
async def test_without_a_token_on_loopback_the_host_must_be_this_one(host: str, status: int) -> None:
    async with page(msgspec.structs.replace(LOCAL, hosts=LOCAL_NAMES | {"page.example"})) as running:
        answer = await running.get(headers={"Host": host})
        assert answer.status == status
        assert status == 200 or "UI_HOSTS" in answer.body["error"]
        assert (await running.get("/api/session", {"Host": host})).status == status


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


async def test_a_user_of_the_proxy_may_also_log_in() -> None:
    async with page(msgspec.structs.replace(PROXIED, token=TOKEN)) as running:
        user = {"X-Forwarded-User": "bo"}
        assert (await running.act(user | running.origin)).status == 403
        cookie = {"Cookie": (await running.log_in(headers=user | running.origin)).cookie}
        answer = await running.act(user | cookie | running.origin)
        assert (answer.status, answer.body["who"]) == (200, "bo")


@pytest.mark.parametrize(
    ("content_type", "data", "status"),
    [
        ("application/json", b'{"token":"wrong token"}', 401),
        ("text/plain", b'{"token":"wrong token"}', 415),
        ("application/x-www-form-urlencoded", b"token=x", 415),
        ("application/json; charset=utf-16", b"{}", 415),
        ("application/json", b"", 400),
        ("application/json", b"[", 400),
        ("application/json", b"[]", 422),
        ("application/json", b'{"token":1}', 422),
        ("application/json", b'{"token":"x","more":1}', 422),
        ("application/json", b'{"token":"\\ud800"}', 400),
        ("application/json", b'{"token":"' + b"x" * 20_000 + b'"}', 413),
    ],
)
async def test_the_body_of_a_login_is_one_token_in_json(content_type: str, data: bytes, status: int) -> None:
    async with page(BOTH) as running:
        answer = await running.request("POST", "/api/login", {"Content-Type": content_type} | running.origin, data)
        assert answer.status == status
        assert "error" in answer.body


async def test_a_page_without_tokens_has_no_login() -> None:
    async with page(LOCAL) as running:
        assert (await running.log_in()).status == 409


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
