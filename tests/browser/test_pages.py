"""Each page in both themes and both widths: it fits, axe-core finds no barrier, and the console no error."""

from itertools import pairwise

import pytest
from playwright.async_api import Browser, expect

from tests.browser import made_up as data
from tests.browser.made_up_server import MadeUpServer
from tests.kit.browser import NARROW, WIDE, barriers, opened, overflow, save_picture

MONITOR = "/monitors/3f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04"
SENTENCES = {
    "calm": "Every check is on time.",
    "night": "because the database is slow.",
    "locked": "because the database is slow.",
    "monitor": "A check is missing, because the worker that had its task died, or lost it.",
}
CASES = [
    *(
        (scene, theme, width)
        for scene in SENTENCES
        if scene != "locked"
        for theme in ("light", "dark")
        for width in (WIDE, NARROW)
    ),
    ("bare", "light", NARROW),
    *(("locked", "light", width) for width in (WIDE, NARROW)),
]


@pytest.mark.parametrize(("scene", "theme", "width"), CASES)
async def test_a_page_fits_and_has_no_barrier(
    browser: Browser, made_up: MadeUpServer, scene: str, theme: str, width: int
) -> None:
    made_up.frame = {"night": data.night, "bare": data.bare, "locked": data.locked}.get(scene, data.calm)
    path = MONITOR if scene == "monitor" else "/"
    async with opened(browser, made_up.url + path, dark=theme == "dark", width=width) as (page, errors):
        await expect(page.get_by_role("heading", level=1)).to_contain_text(
            SENTENCES.get(scene, "Redis has not answered.")
        )
        await expect(page.locator("#link")).to_have_text("live")
        if scene == "calm":
            await page.get_by_role("button", name="Find monitors without a heartbeat").click()
            await expect(page.get_by_text("3 of 84,212")).to_be_visible()
        await save_picture(page, f"{scene}-{theme}-{width}")
        assert await overflow(page) <= 0
        assert await barriers(page) == []
        assert await page.title() != "hacked"
        assert errors == []


@pytest.mark.parametrize("path", ["/", MONITOR])
async def test_nothing_is_cut_off_at_any_width(browser: Browser, made_up: MadeUpServer, path: str) -> None:
    made_up.frame = data.night
    async with opened(browser, made_up.url + path) as (page, errors):
        await expect(page.locator("#link")).to_have_text("live")
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        for width in (320, 500, 700, 761, 1001, 1221, 1920):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await overflow(page) <= 0, width
        assert errors == []


async def test_the_times_of_ticks_do_not_overlap(browser: Browser, made_up: MadeUpServer) -> None:
    ends = """[...document.querySelectorAll("svg text[y='82']")].map((text) => text.getBoundingClientRect())
      .filter(({ width }) => width).map(({ left, right }) => [left, right]).sort(([one], [other]) => one - other)"""
    async with opened(browser, made_up.url + MONITOR) as (page, errors):
        await expect(page.locator("svg text").first).to_be_attached()
        for width, fewest in ((320, 2), (NARROW, 2), (761, 7), (WIDE, 7)):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await overflow(page) <= 0, width
            found = await page.evaluate(ends)
            assert len(found) >= fewest, width
            assert all(before[1] < after[0] for before, after in pairwise(found)), (width, found)
        assert errors == []
