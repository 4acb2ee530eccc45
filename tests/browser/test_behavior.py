"""What the page does: search, acts, login, and lost connections, on a server with made-up data."""

import re
from http import HTTPStatus
from typing import Any

from msgspec.structs import replace
from playwright.async_api import Browser, Page, Request, expect

from peekaping_producer.ui.rendering.monitor import monitor_view
from peekaping_producer.ui.rendering.stream import render
from peekaping_producer.web.refusals import RequestError
from tests.browser import made_up as data
from tests.browser.made_up_server import TOKEN, MadeUpServer
from tests.kit.browser import NARROW, barriers, opened
from tests.kit.waiting import until

OTHER_VERSION = "The page failed: expected version 2, got 1. Reload it."
MONITOR_ID = "3f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04"


async def is_live(page: Page) -> None:
    await expect(page.locator("#link")).to_have_text("live")


async def test_a_lost_connection_is_shown_and_the_page_connects_again(browser: Browser, made_up: MadeUpServer) -> None:
    async with opened(browser, made_up.url) as (page, errors):
        await is_live(page)
        await made_up.stop()
        await expect(page.locator(".banner")).to_be_visible()
        await expect(page.locator("#link")).to_have_text("lost")
        await expect(page.locator("#announcer")).to_contain_text("Connection lost since")
        stopped_at = await page.locator("#clock").text_content()
        await page.wait_for_timeout(1100)
        assert await page.locator("#clock").text_content() == stopped_at
        assert await barriers(page) == []
        made_up.frame = data.night
        await made_up.start()
        await is_live(page)
        await expect(page.locator(".banner")).to_be_hidden()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("because the database is slow.")
        assert all("net::ERR" in error for error in errors)


async def test_a_stream_without_frames_counts_as_lost(browser: Browser, made_up: MadeUpServer) -> None:
    async with opened(browser, made_up.url) as (page, _):
        await is_live(page)
        made_up.is_silent = True
        await expect(page.locator(".banner")).to_be_visible()
        made_up.is_silent = False
        await is_live(page)


async def test_a_frozen_page_stands_still_and_asks_nothing(browser: Browser, made_up: MadeUpServer) -> None:
    async with opened(browser, made_up.url) as (page, errors):
        await is_live(page)
        await page.get_by_role("button", name="Freeze").click()
        await expect(page.locator("#link")).to_have_text("frozen")
        await until(lambda: made_up.streams == 0, "the stream ends")
        made_up.frame = data.night
        await expect(page.get_by_role("heading", level=1)).to_have_text("Every check is on time.")
        await page.get_by_role("button", name="Resume").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("because the database is slow.")
        assert errors == []


async def test_search_works_with_the_keyboard_alone(browser: Browser, made_up: MadeUpServer) -> None:
    async with opened(browser, made_up.url) as (page, errors):
        await is_live(page)
        await page.keyboard.press("/")
        await page.keyboard.type("edge")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("link", name="edge cache, Bergen")).to_be_visible()
        assert await barriers(page) == []
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("link", name="edge cache, Bergen")).to_be_hidden()
        await page.keyboard.press("Control+a")
        await page.keyboard.type("Oslo")
        await page.keyboard.press("Enter")
        await until(lambda: page.url.endswith("/monitors/0f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04"), "the only match opens")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("A check is missing")
        await page.go_back()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Every check is on time.")
        assert errors == []


async def test_a_search_shows_why_a_monitor_cannot_be_scheduled(browser: Browser, made_up: MadeUpServer) -> None:
    made_up.problem = "interval: expected 1 to 86,400 whole seconds, got <b>0</b>"
    async with opened(browser, made_up.url) as (page, errors):
        await is_live(page)
        await page.get_by_role("searchbox").fill("edge")
        await page.keyboard.press("Enter")
        await expect(page.locator("#found li").first).to_contain_text(f"cannot be scheduled: {made_up.problem}")
        assert errors == []


async def test_ids_are_found_while_the_database_does_not_answer(browser: Browser, made_up: MadeUpServer) -> None:
    made_up.database_error = "no answer <b>in time</b>"
    async with opened(browser, made_up.url) as (page, errors):
        await is_live(page)
        await page.get_by_role("searchbox").fill("edge")
        await expect(page.locator("#found li")).to_have_text([id_ for id_, _ in made_up.found])
        await expect(page.locator("#found")).to_contain_text(f"Only ids were searched. {made_up.database_error}")
        assert errors == []


async def test_typing_searches_and_an_id_opens_without_a_search(browser: Browser, made_up: MadeUpServer) -> None:
    searches: list[str] = []

    def note(request: Request) -> None:
        if "?q=" in request.url:
            searches.append(request.url)

    async with opened(browser, made_up.url) as (page, errors):
        await is_live(page)
        page.on("request", note)
        made_up.answers.clear()
        await page.get_by_role("searchbox").fill("Oslo")
        await expect(page.locator("#found")).to_have_text("Searching…")
        await expect(page.locator(".find kbd")).to_be_hidden()
        made_up.answers.set()
        await expect(page.get_by_role("link", name="edge cache, Oslo")).to_be_visible()
        await page.get_by_role("searchbox").fill("")
        await expect(page.locator("#found")).to_be_empty()
        await page.get_by_role("searchbox").fill(MONITOR_ID.upper())
        await expect(page.locator("#found").get_by_text(MONITOR_ID)).to_be_visible()
        await page.keyboard.press("Enter")
        await until(lambda: page.url.endswith(f"/monitors/{MONITOR_ID}"), "the monitor opens")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("A check is missing")
        assert len(searches) == 1
        assert errors == []


async def test_an_address_without_a_page(browser: Browser, made_up: MadeUpServer) -> None:
    async with opened(browser, f"{made_up.url}/monitors/x/y") as (page, _):
        await expect(page.get_by_role("heading", level=1)).to_have_text("This address has no page.")
        assert await barriers(page) == []
        await page.get_by_role("main").get_by_role("link", name="Fleet").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Every check is on time.")


async def test_a_fleet_whose_monitors_are_all_in_claims(browser: Browser, made_up: MadeUpServer) -> None:
    made_up.frame = data.locked
    async with opened(browser, made_up.url, width=NARROW) as (page, errors):
        await expect(page.locator(".overdue tbody tr").first).to_contain_text("in a claim for 16.0 s")
        chart = page.locator("svg[aria-label^=Last]")
        await expect(chart).to_contain_text("66 monitorsare in claims:due again once handed off")
        await expect(chart).to_contain_text("20 min")
        for span in ("1 min", "10 min"):
            await page.get_by_role("button", name=span, exact=True).click()
            await expect(chart).to_have_attribute("aria-label", re.compile(f"^Last {span}:"))
            await expect(chart.locator("polyline.wait.bad")).to_be_attached()
        made_up.frame = lambda now_ms: replace(data.locked(now_ms), longest_overdue=[])
        await expect(page.get_by_text("66 monitors are in claims and not handed off.")).to_be_visible()
        assert errors == []


async def test_a_slow_answer_about_a_monitor_is_explained(browser: Browser, made_up: MadeUpServer) -> None:
    made_up.answers.clear()
    made_up.frame = data.night
    async with opened(browser, f"{made_up.url}/monitors/{MONITOR_ID}") as (page, errors):
        await expect(page.locator("main")).to_contain_text("Reading the monitor…")
        await expect(page.locator("main")).to_contain_text("Redis or the database has not answered yet. Late since")
        made_up.answers.set()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("A check is missing")
        assert errors == []


async def test_backticks_become_code_and_a_missing_name_hides_no_id(browser: Browser, made_up: MadeUpServer) -> None:
    made_up.document = lambda now_ms: _held(now_ms) | {"name": None, "remedy": "Run `status <b>`, or wait."}
    async with opened(browser, f"{made_up.url}/monitors/{MONITOR_ID}") as (page, errors):
        await expect(page.locator(".verdict code")).to_have_text("status <b>")
        await expect(page.locator(".verdict")).to_contain_text("Run status <b>, or wait.")
        await expect(page.locator(".crumb").get_by_text(MONITOR_ID)).to_have_count(1)
        await expect(page.locator(".pairs div", has_text="State").first).to_have_text("Stateheld")
        assert errors == []


async def test_arrow_keys_walk_through_the_matches(browser: Browser, made_up: MadeUpServer) -> None:
    made_up.found = [(f"{n}f0d5a9e", name) for n, name in enumerate((data.HOSTILE_NAME, "img", "img 2"))]
    async with opened(browser, made_up.url) as (page, errors):
        await is_live(page)
        await page.get_by_role("searchbox").fill("img")
        for key in ("Enter", "ArrowDown", "ArrowDown", "ArrowUp"):
            await page.keyboard.press(key)
            await expect(page.locator("#found a")).to_have_count(3)
        await expect(page.locator("#found a").first).to_be_focused()
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Enter")
        await until(lambda: page.url.endswith("/monitors/1f0d5a9e"), "the second match opens")
        assert errors == []


async def test_a_monitor_is_run_and_held(browser: Browser, made_up: MadeUpServer) -> None:
    made_up.act_sentence = "It is due now: <b>done</b>."
    async with opened(browser, f"{made_up.url}/monitors/{MONITOR_ID}") as (page, errors):
        await page.get_by_role("button", name="Run now").click()
        await expect(page.get_by_text("It is due now: <b>done</b>.")).to_be_visible()
        await page.get_by_role("button", name="Hold…").click()
        await expect(page.get_by_role("dialog", name="Hold this monitor")).to_be_visible()
        assert await barriers(page) == []
        await page.get_by_role("dialog").get_by_role("button", name="Hold").click()
        assert len(made_up.posted) == 1, "a reason is required"
        await page.get_by_label("Reason").fill("deploy of the shop")
        await page.get_by_role("dialog").get_by_label("For").select_option("4 h")
        await page.keyboard.press("Enter")
        await until(lambda: len(made_up.posted) == 2)
        made_up.document = _held
        await page.get_by_role("button", name="Release").click()
        await until(lambda: len(made_up.posted) == 3)
        assert errors == []
    assert made_up.posted == [
        ("run-now", {"ids": [MONITOR_ID], "why": ""}),
        ("hold", {"ids": [MONITOR_ID], "for_s": 14400, "why": "deploy of the shop"}),
        ("release", {"ids": [MONITOR_ID]}),
    ]


def _held(now_ms: int) -> dict[str, Any]:
    hold = {"until_ms": now_ms + 60_000, "who": "anna", "why": "deploy"}
    return data.explanation(now_ms) | {"verdict": "held", "level": "off", "hold": hold, "sentence": "Held by anna."}


async def test_the_fleet_is_held_and_synced(browser: Browser, made_up: MadeUpServer) -> None:
    async with opened(browser, made_up.url) as (page, errors):
        await page.get_by_role("button", name="Sync now").click()
        await until(lambda: made_up.posted == [("sync", {})])
        await page.get_by_role("button", name="Hold all…").click()
        await expect(page.get_by_role("dialog", name="Hold all 84,212 monitors")).to_be_visible()
        await page.get_by_role("dialog").get_by_label("For").select_option("10 min")
        await page.get_by_label("Reason").fill("database upgrade")
        await page.get_by_role("dialog").get_by_role("button", name="Hold").click()
        await until(lambda: len(made_up.posted) == 2)
        assert errors == []
    assert made_up.posted[1] == ("hold", {"all": True, "for_s": 600, "why": "database upgrade"})


async def test_a_session_without_rights_sees_why_it_cannot_act(browser: Browser, made_up: MadeUpServer) -> None:
    made_up.session |= {"can_act": False, "why_not": "Set UI_TOKEN to allow actions."}
    async with opened(browser, f"{made_up.url}/monitors/{MONITOR_ID}") as (page, errors):
        button = page.get_by_role("button", name="Run now")
        await expect(button).to_have_attribute("aria-disabled", "true")
        await expect(button).to_have_accessible_description("Set UI_TOKEN to allow actions.")
        await button.click(force=True)
        assert made_up.posted == []
        assert errors == []


async def test_login_shows_the_error_and_then_the_fleet(browser: Browser, made_up: MadeUpServer) -> None:
    made_up.session |= {"can_see": False, "can_act": False, "can_log_in": True}
    async with opened(browser, made_up.url) as (page, errors):
        await page.get_by_label("Token").fill("wrong")
        assert await barriers(page) == []
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_have_text("The token is wrong.")
        assert made_up.streams == 0
        await page.get_by_label("Token").fill(TOKEN)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Every check is on time.")
        assert [error for error in errors if "401" not in error] == []


async def test_nothing_moves_for_people_who_ask_for_less_motion(browser: Browser, made_up: MadeUpServer) -> None:
    animations = "document.getAnimations().length"
    async with opened(browser, made_up.url) as (page, _):
        await is_live(page)
        assert await page.evaluate(animations) == 1
    async with opened(browser, made_up.url, reduced_motion=True) as (page, _):
        await is_live(page)
        assert await page.evaluate(animations) == 0


async def test_a_frame_that_cannot_be_shown_leaves_no_old_figures(browser: Browser, made_up: MadeUpServer) -> None:
    async with opened(browser, made_up.url) as (page, _):
        await is_live(page)
        made_up.render = lambda frame: replace(render(frame), version=1)
        await expect(page.locator("main")).to_have_text(OTHER_VERSION)
        await page.evaluate("dispatchEvent(new Event('resize'))")
        await expect(page.locator("main")).to_have_text(OTHER_VERSION)


async def test_a_view_of_another_version_is_not_shown(browser: Browser, made_up: MadeUpServer) -> None:
    made_up.view = lambda document: replace(monitor_view(document), version=1)
    async with opened(browser, f"{made_up.url}/monitors/{MONITOR_ID}") as (page, _):
        await expect(page.locator("main")).to_have_text(OTHER_VERSION)


async def test_a_frozen_page_does_not_wait_for_a_monitor(browser: Browser, made_up: MadeUpServer) -> None:
    async with opened(browser, made_up.url) as (page, errors):
        await is_live(page)
        await page.get_by_role("button", name="Freeze").click()
        await page.evaluate(f"history.pushState(null, '', '/monitors/{MONITOR_ID}')")
        await page.evaluate("dispatchEvent(new PopStateEvent('popstate'))")
        await expect(page.locator("main")).to_have_text("The page is frozen.")
        await page.get_by_role("button", name="Resume").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("A check is missing")
        await page.go_back()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Every check is on time.")
        assert errors == []


async def test_a_monitor_stays_visible_and_is_marked_as_old(browser: Browser, made_up: MadeUpServer) -> None:
    async with opened(browser, f"{made_up.url}/monitors/{MONITOR_ID}") as (page, _):
        await is_live(page)
        await expect(page.get_by_role("heading", level=1)).to_contain_text("A check is missing")
        await made_up.stop()
        await expect(page.locator(".banner")).to_be_visible()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("A check is missing")
        await made_up.start()
        await expect(page.locator(".banner")).to_be_hidden()


async def test_an_address_that_is_no_monitor_shows_the_error_of_the_server(
    browser: Browser, made_up: MadeUpServer
) -> None:
    def refuse(_now_ms: int) -> dict[str, Any]:
        raise RequestError(HTTPStatus.BAD_REQUEST, "text: expected 1 to 300 characters, got 301.")

    made_up.document = refuse
    async with opened(browser, f"{made_up.url}/monitors/%25") as (page, _):
        await expect(page.get_by_text("expected 1 to 300 characters")).to_be_visible()
        await page.evaluate("history.pushState(null, '', '/monitors/%')")
        await page.evaluate("dispatchEvent(new PopStateEvent('popstate'))")
        await expect(page.get_by_text("expected 1 to 300 characters")).to_be_visible()
        await is_live(page)
