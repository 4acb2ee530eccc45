"""The files of the page without a browser: their syntax, and their size."""

import subprocess
from pathlib import Path

import playwright

from peekaping_producer.ui.script import one_script
from peekaping_producer.ui.static_files import SCRIPT, StaticFiles

STATIC = Path(__file__).parents[2] / "peekaping_producer" / "ui" / "static"
NODE = Path(playwright.__file__).parent / "driver" / "node"
MAX_BYTES = 12_000
"""Of all files together, as they are sent."""
FORBIDDEN = (
    *("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "style="),
    *("http://", "https://"),
)
"""They set HTML, run text as code, or need an exception from the policy of the page."""


def test_the_script_parses_and_no_name_occurs_twice() -> None:
    script = one_script(STATIC / SCRIPT)
    subprocess.run([NODE, "--input-type=module", "--check"], input=script.encode(), check=True)


def test_no_text_has_several_lines_so_that_indentation_can_be_left_out() -> None:
    lines = [line for path in STATIC.glob("*.js") for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if line.count("`") % 2] == []


def test_the_files_are_small() -> None:
    sizes = {file.name: len(file.compressed) for file in StaticFiles().files}
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
