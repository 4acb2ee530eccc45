"""What other web sites and other host names cannot do through a browser, over a real server."""

import msgspec
import pytest

from tests.kit.processes import HOST
from tests.kit.ui_access import BEARER, BOTH, LOCAL, LOCAL_NAMES, TOKEN, basic, page


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
