"""Access to the page of a real replica in a browser: login, acts, and what other sites cannot do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, expect

from tests.browser.test_live import ON_TIME, address
from tests.kit.browser import barriers, opened
from tests.kit.consumer import Consumer, at_work
from tests.kit.fleet import Fleet
from tests.kit.processes import HOST
from tests.kit.replicas import ReplicaProcess
from tests.kit.waiting import until

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


async def test_a_monitor_is_run_held_and_released_by_clicking(
    browser: Browser, fleet: Fleet, replica: ReplicaProcess
) -> None:
    [monitor_id] = await fleet.monitors(1, interval=3600)
    async with (
        at_work(fleet.consumer) as consumer,
        opened(browser, f"{await address(replica)}/monitors/{monitor_id}") as (page, errors),
    ):
        await log_in(page)
        await until(lambda: checks(consumer, monitor_id) == 1, "its first check")
        outcome = page.locator("#why")
        await page.get_by_role("button", name="Run now").click()
        await expect(outcome).to_have_text("It is due now. Its next tick stays where it is.")
        await until(lambda: checks(consumer, monitor_id) >= 2, "one more check")
        await page.get_by_role("button", name="Hold…").click()
        await page.get_by_label("Reason").fill("disk <b>full</b>")
        await page.get_by_role("dialog").get_by_role("button", name="Hold").click()
        await expect(outcome).to_contain_text("It is held until")
        await page.get_by_role("button", name="Release").click()
        await expect(outcome).to_have_text("It is released, and due at its next tick.")
        assert errors == []
    await until(lambda: len(replica.lines("act.performed")) == 3, "each act is logged")
    assert {line["origin"] for line in replica.lines("act.performed")} == {f"page, {HOST}"}


async def test_another_web_site_cannot_act(browser: Browser, fleet: Fleet, replica: ReplicaProcess) -> None:
    target = await address(replica)
    async with opened(browser, target) as (page, _), web_site(f"{target}/api/acts/sync") as attacker:
        await log_in(page)
        tab = await page.context.new_page()
        await tab.goto(attacker)
        await expect(tab.get_by_text("expected same-origin")).to_be_visible()
        await until(lambda: [line["status"] for line in replica.lines("act.refused")] == [403, 403], "both are logged")
        await page.get_by_role("button", name="Sync now").click()
        await until(lambda: len(replica.lines("act.performed")) == 1, "the page itself can act")


@asynccontextmanager
async def web_site(url: str) -> AsyncIterator[str]:
    """A web site of another origin, whose page sends two POST requests to `url`."""
    body = f"""<!doctype html><form method="post" enctype="text/plain" action="{url}"></form><script type="module">
      const post = {{ method: "POST", credentials: "include", body: "{{}}" }};
      await fetch("{url}", {{ ...post, mode: "no-cors" }}).catch(() => null);
      await fetch("{url}", {{ ...post, headers: {{ "Content-Type": "application/json" }} }}).catch(() => null);
      document.forms[0].submit();
    </script>"""
    app = web.Application()

    async def serve(_request: web.Request) -> web.Response:
        return web.Response(text=body, content_type="text/html")

    app.add_routes([web.get("/", serve)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield f"http://localhost:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def checks(consumer: Consumer, monitor_id: str) -> int:
    return sum(count for (id_, _), count in consumer.ticks.items() if id_ == monitor_id)


async def log_in(page: Page) -> None:
    """Log in with the token that permits acts."""
    await page.get_by_label("Token").fill(TOKEN)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Log out")).to_be_visible()
