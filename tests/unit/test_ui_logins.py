"""Logins, sessions and wrong tokens, over a real server."""

import msgspec
import pytest
from structlog.testing import capture_logs

from peekaping_producer.settings import UiAccess
from peekaping_producer.ui.access.attempts import MAX_WRONG, PERIOD_S
from peekaping_producer.ui.access.line_limit import MAX_LINES
from peekaping_producer.ui.access.sessions import LIFETIME_S, NAME, SECURE_PREFIX
from tests.kit.ui_access import BEARER, BOTH, LOCAL, OTHER_ADDRESS, PROXIED, READ_TOKEN, TOKEN, Times, basic, page

ORIGIN = {"Origin": "http://page.example"}


async def test_a_login_replaces_a_bad_cookie() -> None:
    async with page(BOTH) as running:
        bad = f"{NAME}-{running.port}={LIFETIME_S}.act.{'n' * 16}.{'m' * 43}"
        answer = await running.log_in(headers=running.origin | {"Cookie": bad})
        assert answer.status == 200
        assert (await running.get(headers={"Cookie": answer.cookie})).status == 200


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
