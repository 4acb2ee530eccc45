"""Access to the page of a real replica in a browser: login, and what other web sites and names cannot do."""

import pytest
from playwright.async_api import Browser, expect

from tests.browser.test_live import ON_TIME, address
from tests.kit.browser import barriers, opened
from tests.kit.consumer import at_work
from tests.kit.fleet import Fleet
from tests.kit.processes import HOST
from tests.kit.replicas import ReplicaProcess

TOKEN, READ_TOKEN = "kanari-act-token", "kanari-see-token"


@pytest.fixture
async def replica(fleet: Fleet) -> ReplicaProcess:
    """A replica whose page requires a token."""
    await fleet.monitors(3)
    return fleet.start(UI_ADDR=f"{HOST}:0", UI_TOKEN=TOKEN, UI_READ_TOKEN=READ_TOKEN)


async def test_a_user_logs_in_and_out(browser: Browser, fleet: Fleet, replica: ReplicaProcess) -> None:
    async with at_work(fleet.consumer), opened(browser, await address(replica)) as (page, errors):
        await page.get_by_label("Token").fill("wrong token")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_have_text("token: expected a token of this page, got another.")
        assert await barriers(page) == []
        await page.get_by_label("Token").fill(READ_TOKEN)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text(ON_TIME)
        sync = page.get_by_role("button", name="Sync now")
        await expect(sync).to_have_accessible_description("Log in with the token of UI_TOKEN to act.")
        await page.get_by_role("button", name="Log in").click()
        await page.get_by_label("Token").fill(TOKEN)
        await page.keyboard.press("Enter")
        await expect(sync).not_to_have_attribute("aria-disabled", "true")
        [cookie] = await page.context.cookies()
        assert (cookie.get("httpOnly"), cookie.get("sameSite")) == (True, "Strict")
        assert await page.evaluate("document.cookie") == ""
        await page.reload()
        await expect(sync).not_to_have_attribute("aria-disabled", "true")
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Token")).to_be_visible()
        assert await page.context.cookies() == []
        assert [error for error in errors if "401" not in error] == []
    assert "kanari" not in replica.log_file.read_text()


async def test_a_name_that_leads_to_this_host_shows_no_data(browser: Browser, fleet: Fleet) -> None:
    """As in DNS rebinding: the browser considers the page and the attacker's the same site."""
    port = (await address(fleet.start(UI_ADDR=f"{HOST}:0"))).rpartition(":")[2]
    async with opened(browser, f"http://evil.localhost:{port}") as (page, _):
        await expect(page.get_by_text("add the name to UI_HOSTS")).to_be_visible()
        assert await page.evaluate("fetch('/api/monitors?q=').then(({ status }) => status)") == 403
    async with opened(browser, f"http://localhost:{port}") as (page, errors):
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert errors == []
