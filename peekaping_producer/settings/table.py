"""The settings as tables: of one process for `check-config`, and of all there are for the docs.

`python -m peekaping_producer.settings.table docs/settings.md` writes the second one anew between its markers.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from pydantic import SecretStr

from peekaping_producer.settings.environment import SECRETS
from peekaping_producer.settings.fields import about
from peekaping_producer.settings.model import Settings

BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"

_SWITCHES = ("DB_TLS", "REDIS_TLS")
"""Off where neither they nor a URL say anything."""


class Row(msgspec.Struct, frozen=True):
    """A setting of this process.

    `value` is as it may be shown; `origin` is environment, .env, file, default, not read, or the name of the URL that
    has the value in it. One that cannot be used is marked there.
    """

    name: str
    value: str
    origin: str


def rows(settings: Settings) -> list[Row]:
    """Every setting, secrets masked."""
    in_urls = settings.in_urls
    return [_row(settings, name.upper(), value, in_urls) for name, value in settings]


def _row(settings: Settings, name: str, value: object, in_urls: Mapping[str, tuple[object, str]]) -> Row:
    origin = settings.origin(name)
    if name in settings.unusable:
        return Row(name, settings.unusable[name], f"{origin}, unusable")
    if name in in_urls and origin in {"default", "not read"}:
        return Row(name, _shown(in_urls[name][0]), in_urls[name][1])
    if value is None and name in _SWITCHES:
        value = False
    return Row(name, "" if origin == "not read" else _shown(value), origin)


def as_text(settings: Settings) -> str:
    """The rows as aligned lines, for a terminal."""
    table = rows(settings)
    name_width, value_width = (max(len(getattr(row, column)) for row in table) for column in ("name", "value"))
    return "\n".join(f"{row.name:{name_width}}  {row.value:{value_width}}  {row.origin}" for row in table)


def as_markdown() -> str:
    """The reference table of the docs: name, default, what it takes, what it is."""
    lines = ["| Name | Default | Takes | What it is |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        setting = about(name)
        default = setting.absent or ("not set" if field.default is None else f"`{_shown(field.default)}`")
        takes, doc = (text.replace("|", "\\|") for text in (setting.takes, setting.doc))
        also = f" Also `{name.upper()}_FILE`." if name.upper() in SECRETS else ""
        lines.append(f"| `{name.upper()}` | {default} | {takes} | {doc}{also} |")
    return "\n".join(lines)


def renewed(page: str) -> str:
    """The page with the reference table between its markers. Raises ValueError where a marker is missing."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page: takes {BEGIN} and after it {END}")
    return f"{before}{BEGIN}\n{as_markdown()}\n{END}{after}"


def _shown(value: object) -> str:
    match value:
        case None:
            return "(not set)"
        case SecretStr():
            return "***"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case _:
            # A host or a name with control characters must not paint on the terminal.
            text = str(value)
            return text if text.isprintable() else repr(text)


if __name__ == "__main__":
    page_path = Path(sys.argv[1])
    page_path.write_text(renewed(page_path.read_text(encoding="utf-8")), encoding="utf-8")
