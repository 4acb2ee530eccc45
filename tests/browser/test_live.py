"""The page of real replicas: what it shows follows what they do."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page, expect

from peekaping_producer.operations.replica_report import replicas_of
from peekaping_producer.operations.verdict.lateness import OLD_CLAIM_S
from peekaping_producer.schedule import Schedule
from tests.browser.made_up import HOSTILE_NAME
from tests.kit.browser import barriers, opened, overflow, save_picture
from tests.kit.consumer import at_work
from tests.kit.databases import monitor_row
from tests.kit.fault_proxy import fault_proxy
from tests.kit.fleet import Fleet
from tests.kit.processes import HOST
from tests.kit.replicas import ReplicaProcess
from tests.kit.waiting import until

MONITORS = 20
ON_TIME = "Every check is on time."


async def address(replica: ReplicaProcess) -> str:
    """The page of a replica that was started with port 0."""
    await until(lambda: bool(replica.lines("ui.listening")), "it serves the page")
    (listening,) = replica.lines("ui.listening")
    return f"http://{HOST}:{listening['port']}"


@asynccontextmanager
async def page_of(browser: Browser, fleet: Fleet, **settings: str) -> AsyncIterator[tuple[Page, list[str]]]:
    """The page of one more replica, which shows that every check is on time."""
    replica = fleet.start(UI_ADDR=f"{HOST}:0", **settings)
    async with opened(browser, await address(replica)) as (page, errors):
        await expect(page.get_by_role("heading", level=1)).to_have_text(ON_TIME)
        yield page, errors


async def fact(page: Page, name: str, value: str) -> None:
    """Wait until the page shows this."""
    await expect(page.locator(".facts div", has_text=name).locator("b")).to_have_text(value)


async def test_the_page_follows_the_fleet(browser: Browser, fleet: Fleet) -> None:
    await fleet.monitors(MONITORS)
    async with at_work(fleet.consumer), page_of(browser, fleet, SYNC_INTERVAL="1") as (page, errors):
        await fact(page, "In the schedule", str(MONITORS))
        await fact(page, "Replicas", "1 of 1")
        chart = page.locator("svg[aria-label^=Last]")
        before = await chart.get_attribute("aria-label")
        await expect(chart).not_to_have_attribute("aria-label", before or "")
        await expect(page.locator("svg rect.past").first).to_be_attached()
        await fleet.monitors(MONITORS)
        await fact(page, "In the schedule", str(2 * MONITORS))
        assert errors == []


async def is_held(fleet: Fleet, *, for_s: float) -> bool:
    """Whether a heartbeat contains a claim that is so old."""
    stats = await Schedule(fleet.redis).stats()
    beats = [report.heartbeat for report in replicas_of(stats).values() if report.heartbeat]
    return any(stats.now_ms - claim.since_ms > 1000 * for_s for beat in beats for claim in beat.claims)


async def test_a_killed_replica_changes_the_sentence(browser: Browser, fleet: Fleet) -> None:
    """It is killed while it reads a batch: its monitors are late until its leases end.

    The other one claims few monitors at a time, so that both get some. Before its read ends without an answer, which
    would end the claim, the first one is frozen: for a page it holds the claim until it counts as silent.
    """
    await fleet.monitors(MONITORS, interval=2)
    fleet.settings["LEASE_TTL"] = "60"
    async with (
        at_work(fleet.consumer),
        page_of(browser, fleet, CLAIM_BATCH="5") as (page, errors),
        fault_proxy(fleet.target.port or 0) as proxy,
    ):
        second = fleet.start(DB_PORT=str(proxy.port))
        await fact(page, "Replicas", "2 of 2")
        proxy.hold_requests()
        sentence = page.get_by_role("heading", level=1)
        shown = asyncio.create_task(expect(sentence).to_contain_text("has held"))
        await until(lambda: is_held(fleet, for_s=OLD_CLAIM_S + 1), "a claim is old")
        second.process.send_signal(signal.SIGSTOP)
        await shown
        second.kill()
        await expect(sentence).to_contain_text("stopped reporting while it held")
        await fact(page, "Replicas", "1 of 2")
        await expect(page.locator(".replicas").get_by_text("silent")).to_be_visible()
        await save_picture(page, "live-fleet")
        assert await overflow(page) <= 0
        assert await barriers(page) == []
        assert errors == []


async def test_a_hostile_name_is_only_text(browser: Browser, fleet: Fleet) -> None:
    id_ = fleet.database.new_id()
    await fleet.database.insert("monitors", monitor_row(id_, interval=1, name=HOSTILE_NAME))
    async with at_work(fleet.consumer), page_of(browser, fleet) as (page, errors):
        await page.get_by_role("searchbox").fill("<img src")
        await page.keyboard.press("Enter")
        await until(lambda: page.url.endswith(f"/monitors/{id_}"), "the page of the monitor opens")
        await expect(page.locator(".crumb b")).to_contain_text("<img src=x onerror=")
        await expect(page.locator(".crumb b")).to_contain_text("202e")
        assert await page.locator("main img").count() == 0
        assert await page.title() != "hacked"
        await save_picture(page, "live-monitor")
        assert await overflow(page) <= 0
        assert await barriers(page) == []
        assert errors == []
