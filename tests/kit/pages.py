"""The commands of a page of the docs, for tests that run them."""

import re
from pathlib import Path

_BLOCK = re.compile(r"^```bash\n(.*?)^```\n(?:```(?:json)?\n(.*?)^```)?", re.DOTALL | re.MULTILINE)


def commands(page: Path, heading: str) -> list[tuple[str, str]]:
    """Each block of commands (```bash) below `## heading`, with the output that the page shows directly after it."""
    section = page.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert section, f"{page.name}: no heading {heading!r}"
    return _BLOCK.findall(section)
