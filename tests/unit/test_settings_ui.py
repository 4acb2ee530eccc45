"""The settings of the page: who may see and act, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from peekaping_producer.settings import UiAccess
from peekaping_producer.settings.ui import network
from tests.kit.commands import command
from tests.kit.settings_loading import PARTS, load, problems

TOKEN = "kanari-token"
LOCAL = {"localhost", "127.0.0.1", "::1"}


def access(**environ: str) -> UiAccess:
    return load(**PARTS, **environ).ui_access()


@pytest.mark.parametrize(
    ("environ", "is_public", "hosts"),
    [
        ({}, True, LOCAL),
        ({"UI_ADDR": "[::1]:80"}, True, LOCAL),
        ({"UI_HOSTS": "Page.example, 192.0.2.7,"}, True, LOCAL | {"page.example", "192.0.2.7"}),
        ({"UI_TOKEN": TOKEN}, False, None),
        ({"UI_TOKEN": TOKEN, "UI_ANONYMOUS": "read"}, True, LOCAL),
        ({"UI_TOKEN": TOKEN, "UI_HOSTS": "[2001:db8::1]"}, False, LOCAL | {"2001:db8::1"}),
        ({"UI_ADDR": ":9465", "UI_READ_TOKEN": TOKEN}, False, None),
        ({"UI_ADDR": ":9465", "UI_ANONYMOUS": "Read"}, True, None),
        ({"UI_ADDR": ":9465", "UI_PROXY_USER_HEADER": "X-User", "UI_PROXY_FROM": "10.0.0.1"}, False, None),
        ({"UI_ADDR": "off"}, True, None),
    ],
)
def test_who_may_see_without_credentials_and_under_which_name(
    environ: dict[str, str], is_public: bool, hosts: set[str] | None
) -> None:
    found = access(**environ)
    assert found.is_public == is_public
    assert (None if found.hosts is None else set(found.hosts)) == hosts


def test_the_proxies_and_their_users() -> None:
    found = access(
        UI_PROXY_FROM="10.0.0.0/8, 192.0.2.7,2001:db8::/32",
        UI_PROXY_USER_HEADER="X-Forwarded-User",
        UI_ACT_USERS="anna , bo@example.com",
    )
    assert found.proxies == tuple(map(network, ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32")))
    assert found.user_header == "X-Forwarded-User"
    assert set(found.act_users) == {"anna", "bo@example.com"}


PUBLIC = (
    "UI_ADDR: expected a loopback address, or authentication, got '{}' without it; set UI_TOKEN or UI_READ_TOKEN, or "
    "UI_ANONYMOUS=read if every client that reaches the address may see"
)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"UI_ADDR": "0.0.0.0:9465"}, [PUBLIC.format("0.0.0.0:9465")]),
        ({"UI_ADDR": ":9465"}, [PUBLIC.format(":9465")]),
        ({"UI_ADDR": "page.example:80"}, [PUBLIC.format("page.example:80")]),
        (
            {"UI_ADDR": ":9465", "UI_TOKEN": "short"},
            ["UI_TOKEN: expected 8 or more characters, got *** (create one with: openssl rand -hex 24)"],
        ),
        (
            {"UI_TOKEN": TOKEN, "UI_READ_TOKEN": TOKEN},
            ["UI_READ_TOKEN: expected another token than UI_TOKEN, got the same; create a second one"],
        ),
        ({"UI_ANONYMOUS": "write"}, ["UI_ANONYMOUS: expected off | read, got 'write'"]),
        (
            {"UI_HOSTS": "page.example:80"},
            [
                "UI_HOSTS: expected host names without ports, separated by commas, got 'page.example:80' "
                "(the port is a setting of its own)"
            ],
        ),
        (
            {"UI_PROXY_FROM": "10.0.0.5/8"},
            [
                "UI_PROXY_FROM: expected addresses or ranges such as 10.0.0.0/8, separated by commas, got "
                "'10.0.0.5/8' (write 10.0.0.0/8)"
            ],
        ),
        (
            {"UI_PROXY_USER_HEADER": "Cookie", "UI_PROXY_FROM": "10.0.0.1"},
            [
                "UI_PROXY_USER_HEADER: expected the name of a header, such as X-Forwarded-User, got 'Cookie' "
                "(this header has another meaning)"
            ],
        ),
        (
            {"UI_PROXY_USER_HEADER": "X-User"},
            ["UI_PROXY_USER_HEADER: requires UI_PROXY_FROM; set it to the addresses of the proxy"],
        ),
        (
            {"UI_ACT_USERS": "anna"},
            ["UI_ACT_USERS: requires UI_PROXY_USER_HEADER; set it to the header that contains the user"],
        ),
    ],
)
def test_settings_that_would_open_the_page_or_do_not_fit_together_are_refused(
    environ: dict[str, str], expected: list[str]
) -> None:
    assert problems(**PARTS, **environ) == expected


def test_the_tokens_are_secret_and_may_be_in_files(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    settings = load(**PARTS, UI_TOKEN_FILE=str(file), UI_READ_TOKEN="kanari-other")
    assert settings.ui_access().token == TOKEN
    assert settings.secrets >= {TOKEN, "kanari-other"}
    assert "kanari" not in repr(settings)


def test_a_proxy_with_every_address_is_reported() -> None:
    wide: dict[str, Any] = {"UI_PROXY_FROM": "10.0.0.0/8,::/0", "UI_PROXY_USER_HEADER": "X-User"}
    [warning] = load(**PARTS, **wide).warnings
    assert warning.startswith("UI_PROXY_FROM: contains every address")
    assert load(**PARTS, UI_PROXY_FROM="::/0").warnings == ()


def test_a_page_that_every_client_may_see_requires_its_names() -> None:
    public: dict[str, Any] = {"UI_ADDR": ":9465", "UI_ANONYMOUS": "read"}
    [warning] = load(**PARTS, **public).warnings
    assert warning.startswith("UI_HOSTS: not set, and UI_ANONYMOUS=read")
    for more in ({"UI_HOSTS": "page.example"}, {"UI_ADDR": "127.0.0.1:80"}, {"UI_ADDR": "off"}):
        assert load(**PARTS, **public | more).warnings == ()


async def test_a_replica_refuses_to_start_with_an_open_page(tmp_path: Path) -> None:
    database = {"DB_TYPE": "sqlite", "DB_NAME": "x.db", "REDIS_HOST": "127.0.0.1"}
    ended = await command(tmp_path, "run", **database, UI_ADDR="0.0.0.0:0")
    assert (ended.code, "UI_ADDR: expected a loopback address" in ended.err) == (2, True)
