"""The files of the page without a browser: their syntax, and their size."""

import gzip
import json
import subprocess
from pathlib import Path

import playwright
import pytest

from peekaping_producer.service.text import clock_time, duration
from peekaping_producer.ui.static_files import StaticFiles

STATIC = Path(__file__).parents[2] / "peekaping_producer" / "ui" / "static"
NODE = Path(playwright.__file__).parent / "driver" / "node"
MAX_BYTES = 22_000
"""Of all files together, as they are sent."""
FORBIDDEN = (
    *("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "style="),
    *("http://", "https://"),
)
"""They set HTML, run text as code, or need an exception from the policy of the page."""


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_a_module_parses(path: Path) -> None:
    subprocess.run([NODE, "--input-type=module", "--check"], input=path.read_bytes(), check=True)


def test_the_files_are_small() -> None:
    sizes = {file.name: len(gzip.compress(file.body, mtime=0)) for file in StaticFiles().files}
    assert sum(sizes.values()) <= MAX_BYTES, sizes


def test_text_is_only_ever_set_as_text() -> None:
    svg_namespace = "http://www.w3.org/2000/svg"
    found = [
        (path.name, word)
        for path in STATIC.iterdir()
        for word in FORBIDDEN
        if word in path.read_text(encoding="utf-8").replace(svg_namespace, "")
    ]
    assert found == []


def test_durations_and_times_are_those_of_the_commands() -> None:
    now_ms = 1_795_727_675_181
    seconds = [
        0.0004,
        0.004,
        0.0099,
        0.012,
        0.48,
        0.9996,
        1,
        59.94,
        119.9,
        120.1,
        271.3,
        3599,
        3600,
        6774,
        7199,
        100_000,
        172_799,
        200_000,
    ]
    times = [now_ms, now_ms - 1, now_ms - 86_399_999, now_ms - 86_400_001, now_ms + 90_000_000]
    script = f"""
        import {{ clock, duration }} from {json.dumps((STATIC / "page.js").as_uri())};
        console.log(JSON.stringify([{seconds}.map(duration), {times}.map((ms) => clock(ms, {now_ms}))]));
    """
    done = subprocess.run(
        [NODE, "--input-type=module"], input=script.encode(), capture_output=True, check=True, cwd=STATIC
    )
    assert json.loads(done.stdout) == [
        [duration(value) for value in seconds],
        [clock_time(at_ms, now_ms) for at_ms in times],
    ]


def test_ticks_without_a_result_follow_the_phase_and_end_at_the_axis() -> None:
    now_ms = 1_800_000_000_000
    next_ms = now_ms + 17_000
    results = [now_ms - 103_000 + 300, now_ms - 223_000 + 400]
    script = f"""
        import {{ ticksWithout }} from {json.dumps((STATIC / "monitor.js").as_uri())};
        const unknown = [ticksWithout({results}, null, 60000, {now_ms}), ticksWithout([], {next_ms}, 60000, {now_ms})];
        const found = ticksWithout({results}, {next_ms}, 60000, {now_ms});
        console.log(JSON.stringify([found, ticksWithout([0], {next_ms}, 20000, {now_ms}).length, ...unknown]));
    """
    done = subprocess.run(
        [NODE, "--input-type=module"], input=script.encode(), capture_output=True, check=True, cwd=STATIC
    )
    assert json.loads(done.stdout) == [[now_ms - 43_000, now_ms - 163_000], 14, [], []]
