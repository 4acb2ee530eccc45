"""The Chromium of the system, without a window: one process for all tests, a context of its own for each."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.kit import processes
from tests.kit.processes import HOST, free_port
from tests.kit.requirements import need

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
WIDE, NARROW, HEIGHT = 1280, 390, 900
"""CSS pixels."""
TIMEOUT_MS = 60_000
expect.set_options(timeout=TIMEOUT_MS)
_OPTIONS = (
    *(
        "--headless",
        "--hide-scrollbars",
        "--no-sandbox",
        "--no-first-run",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-sync",
    ),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions", "--no-pings"),
)
"""The sandbox requires rights that a container does not give. The pages are our own."""
_REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


@contextmanager
def chromium_process() -> Iterator[str]:
    """A running Chromium; the value is the address of its debugging port."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    need(program, "Chromium: run `make ci-servers` (Debian: apt install chromium)")
    with processes.directory("browser-") as folder:
        port, log = free_port(), folder / "log"
        process = processes.start(
            log, program, *_OPTIONS, f"--user-data-dir={folder}/profile", f"--remote-debugging-port={port}"
        )
        try:
            processes.wait_until(lambda: processes.listens(port), process, log)
            yield f"http://{HOST}:{port}"
        finally:
            processes.stop(process)


@pytest.fixture(scope="session")
def chromium() -> Iterator[str]:
    """One for all tests."""
    with chromium_process() as address:
        yield address


@pytest_asyncio.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """A connection to it."""
    async with async_playwright() as playwright:
        connected = await playwright.chromium.connect_over_cdp(chromium)
        yield connected
        await connected.close()


@asynccontextmanager
async def opened(
    browser: Browser,
    url: str,
    *,
    dark: bool = False,
    width: int = WIDE,
    height: int = HEIGHT,
    reduced_motion: bool = False,
) -> AsyncIterator[tuple[Page, list[str]]]:
    """Open a page; yields it and the errors that its console shows, violations of the CSP among them."""
    context = await browser.new_context(
        color_scheme="dark" if dark else "light",
        viewport={"width": width, "height": height},
        reduced_motion="reduce" if reduced_motion else "no-preference",
    )
    errors: list[str] = []
    try:
        context.set_default_timeout(TIMEOUT_MS)
        await context.add_init_script(_REPORT_VIOLATIONS)
        page = await context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(url)
        yield page, errors
    finally:
        await context.close()


async def save_picture(page: Page, name: str) -> Path:
    """Save a picture of the whole page in SCREENSHOTS."""
    await asyncio.to_thread(SCREENSHOTS.mkdir, parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    await page.screenshot(path=path, full_page=True)
    return path


async def barriers(page: Page) -> list[str]:
    """Return the serious and critical findings of axe-core."""
    found = (await Axe().run(page)).response["violations"]
    return [
        f"{violation['id']}: {[node['html'][:200] for node in violation['nodes']]}"
        for violation in found
        if violation["impact"] in {"serious", "critical"}
    ]


async def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than the window, or what a card contains wider than the card.

    First the page is drawn twice: it draws its charts again after the first one that follows a change of its size.
    """
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    width: int = await page.evaluate(
        "Math.max(...[document.documentElement, ...document.querySelectorAll('.card')]"
        ".map((element) => element.scrollWidth - element.clientWidth))"
    )
    return width
