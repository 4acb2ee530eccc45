"""The settings as tables: the values of one process for `check-config`, and the reference for docs and `--help`.

`python -m peekaping_producer.settings.table docs/settings.md` updates the reference between its markers.
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec
from pydantic import SecretStr

from peekaping_producer.service.text import escaped
from peekaping_producer.settings.fields import NAMES, Fields, description
from peekaping_producer.settings.groups import PRODUCER_GROUPS, SettingsGroup, command_names
from peekaping_producer.settings.model import Settings
from peekaping_producer.settings.texts import FROM_FILES
from peekaping_producer.settings.types import WebUrl

BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"

_SWITCHES = ("DB_TLS", "REDIS_TLS", "RABBITMQ_TLS")
"""Off if neither they nor a URL are given."""


class Row(msgspec.Struct, frozen=True):
    """A setting of this process.

    `value` is masked if secret; `origin` is that of Settings.origin, or the name of the URL that contains the value;
    `, invalid` follows for a bad value.
    """

    name: str
    value: str
    origin: str


def rows(settings: Settings, groups: Collection[SettingsGroup] = PRODUCER_GROUPS) -> list[Row]:
    """Every setting of a command that needs `groups`, secrets masked."""
    in_urls = settings.in_urls
    return [_row(settings, name, getattr(settings, name.lower()), in_urls) for name in command_names(groups)]


def _row(settings: Settings, name: str, value: object, in_urls: Mapping[str, tuple[object, str]]) -> Row:
    origin = settings.origin(name)
    if name in settings.invalid:
        return Row(name, settings.invalid[name], f"{origin}, invalid")
    if name in in_urls and origin in {"default", "not read"}:
        return Row(name, _value_text(in_urls[name][0]), in_urls[name][1])
    if value is None and name in _SWITCHES:
        value = False
    return Row(name, "" if origin == "not read" else _value_text(value), origin)


def as_text(settings: Settings, groups: Collection[SettingsGroup] = PRODUCER_GROUPS) -> str:
    """The rows as aligned lines, for a terminal."""
    table = rows(settings, groups)
    name_width, value_width = (max(len(getattr(row, column)) for row in table) for column in ("name", "value"))
    return "\n".join(f"{row.name:{name_width}}  {row.value:{value_width}}  {row.origin}" for row in table)


def as_markdown() -> str:
    """The reference for the docs: name, default, accepted values, meaning."""
    lines = ["| Name | Default | Accepts | Meaning |", "|---|---|---|---|"]
    for name in NAMES:
        setting = description(name)
        default = setting.absent or _default(name, "`{}`")
        expected, doc = (text.replace("|", "\\|") for text in (setting.expected, setting.doc))
        also = f" Also `{name}_FILE`." if name in FROM_FILES else ""
        lines.append(f"| `{name}` | {default} | {expected} | {doc}{also} |")
    return "\n".join(lines)


def as_help(names: Sequence[str], *, options: bool = False) -> str:
    """The settings `names` for `--help`: name, default, meaning. Empty without names.

    `options`: mention that they are also options.
    """
    if not names:
        return ""
    defaults = {name: (description(name).absent or _default(name)).replace("`", "") for name in names}
    name_width, width = max(map(len, names)), max(map(len, defaults.values()))
    lines = [f"  {name:{name_width}}  {defaults[name]:{width}}  {description(name).doc}" for name in names]
    also = ", or options, secrets and URLs excepted: --rabbitmq-host for RABBITMQ_HOST" if options else ""
    return "\n".join([f"settings (environment variables{also}) and their defaults:", *lines, "", ""])


def _default(name: str, form: str = "{}") -> str:
    value = Fields.model_fields[name.lower()].default
    return "not set" if value is None else form.format(_value_text(value))


def renewed(page: str) -> str:
    """The page with the reference between its markers. Raises ValueError if a marker is missing."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"page: expected {BEGIN} and after it {END}")
    return f"{before}{BEGIN}\n{as_markdown()}\n{END}{after}"


def _value_text(value: object) -> str:
    match value:
        case None:
            return "(not set)"
        case WebUrl():
            return escaped(str(value))
        case SecretStr():
            return "***"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case _:
            # Control characters in a host or a name must not reach the terminal.
            return escaped(str(value))


if __name__ == "__main__":
    page_path = Path(sys.argv[1])
    page_path.write_text(renewed(page_path.read_text(encoding="utf-8")), encoding="utf-8")
