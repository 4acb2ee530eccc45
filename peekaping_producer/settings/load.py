"""Settings from the environment: found, checked, and everything that is wrong with them reported at once."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import SecretStr, ValidationError

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings.addresses import hidden_port
from peekaping_producer.settings.environment import (
    SECRETS,
    VERBATIM,
    Found,
    has_hidden_characters,
    merge,
    read_dotenv,
    resolve_files,
)
from peekaping_producer.settings.fields import about
from peekaping_producer.settings.lookalikes import lookalikes
from peekaping_producer.settings.model import Settings
from peekaping_producer.settings.types import Need
from peekaping_producer.settings.urls import names_database

ALL: frozenset[Need] = frozenset({"database", "redis", "producer"})

_URLS = ("DATABASE_URL", "REDIS_URL")
_NAMES = (*(name.upper() for name in Settings.model_fields), *(f"{name}_FILE" for name in SECRETS))
_DATABASE_PARTS = ("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASS")
_REDIS_ADDRESS = ("REDIS_HOST", "REDIS_PORT")
_REDIS_LOGIN = ("REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_DB")
_REDIS_PARTS = (*_REDIS_ADDRESS, *_REDIS_LOGIN, "REDIS_SENTINELS", "REDIS_SENTINEL_MASTER")
_FAMILIES = ("DB_TLS", "REDIS_TLS", "REDIS_SENTINEL")
"""How names begin that only make sense together."""


def load_settings(
    needs: Collection[Need] = ALL, *, environ: Mapping[str, str] | None = None, dotenv: Path = Path(".env")
) -> Settings:
    """The settings of a command that needs `needs`, from the environment and a `.env` file, where the former wins.

    A setting of a group that is not needed, or that a URL (or sqlite) makes idle, is not looked at. An empty value is
    no value, but for METRICS_ADDR. Raises ConfigError with every problem there is.
    """
    settings, problems = inspect_settings(needs, environ=environ, dotenv=dotenv)
    if problems:
        raise ConfigError(problems)
    return settings


def inspect_settings(
    needs: Collection[Need] = ALL, *, environ: Mapping[str, str] | None = None, dotenv: Path = Path(".env")
) -> tuple[Settings, list[str]]:
    """As `load_settings`, but also where something is wrong: whatever is usable, and every problem.

    Raises ConfigError only for a `.env` file that cannot be read.
    """
    problems: list[str] = []
    environ, in_file = os.environ if environ is None else environ, _dotenv(dotenv)
    found = _without(merge(_NAMES, environ, in_file), _of_other_commands(needs))
    with_urls = resolve_files(found, _URLS, problems)
    idle = _of_other_commands(needs) | _replaced(found | with_urls)
    resolved = resolve_files(_without(with_urls, idle), SECRETS, problems)
    given = {name: each for name, each in resolved.items() if each.text or name == "METRICS_ADDR"}
    settings, unusable = _check(given, problems)
    _check_targets(settings, needs, problems)
    unset = {name for name in _NAMES if name not in given and name not in idle and f"{name}_FILE" not in found}
    warnings = lookalikes({*environ, *in_file}, _NAMES, _still_wanted(unset, given), needs)
    warnings += _overruled(settings, {name: found[name] for name in idle if name in found})
    warnings += _hidden_ports(given)
    if "producer" in needs and settings.is_verbose:
        warnings.append("LOG_LEVEL: debug with MODE=prod logs every batch. Set LOG_LEVEL=info.")
    origins = {name: each.origin for name, each in given.items()} | dict.fromkeys(idle, "not read")
    return settings.with_notes(origins, unusable, warnings), problems


def _still_wanted(unset: Collection[str], given: Collection[str]) -> set[str]:
    """The unset names without those that what is given replaces."""
    parts = {"DATABASE_URL": _DATABASE_PARTS, "REDIS_URL": (*_REDIS_ADDRESS, "REDIS_SENTINELS")}
    return {name for name in unset if not set(parts.get(name, ())) & set(given)}


def _overruled(settings: Settings, idle: Mapping[str, Found]) -> list[str]:
    """A sentence for each part that is given beside a URL with another value. Kubernetes sets ports that are URLs."""
    said = []
    for name, (value, url) in settings.in_urls.items():
        shown = value.get_secret_value() if isinstance(value, SecretStr) else value
        if name in idle and idle[name].text not in {"", str(shown)} and "://" not in idle[name].text:
            said.append(f"{name}: not read, because {url} is set, and has another value.")
    return said


def _hidden_ports(given: Mapping[str, Found]) -> list[str]:
    """A sentence for each host that is an IPv6 address and looks as if a port stood behind it."""
    said = []
    for name, port_name in (("DB_HOST", "DB_PORT"), ("REDIS_HOST", "REDIS_PORT")):
        text = given[name].text.split(",")[-1].strip() if name in given else ""
        if port := hidden_port(text):
            said.append(
                f"{name}: got {text!r}, which is read as an address without a port. If {port} is the port, leave it "
                f"out and set {port_name}={port}; otherwise write [{text}]."
            )
    return said


def _dotenv(path: Path) -> dict[str, str]:
    """Raises ConfigError at once: without the file nothing can be said about the rest."""
    try:
        return read_dotenv(path)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror}), takes to be readable or absent"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: cannot be read, takes UTF-8 text"]) from None


def _of_other_commands(needs: Collection[Need]) -> set[str]:
    """The names that a command which needs `needs` does not look at."""
    names = {name.upper() for name in Settings.model_fields if about(name).group not in {None, *needs}}
    return names | _files(names)


def _replaced(found: Mapping[str, Found]) -> set[str]:
    """The names that do not count since a URL, sentinels or sqlite replace them."""

    def text(name: str) -> str:
        return found[name].text if name in found else ""

    idle: set[str] = set()
    if _is_given("REDIS_URL", found):
        idle |= set(_REDIS_PARTS)
    elif text("REDIS_SENTINELS"):
        idle |= set(_REDIS_ADDRESS)
    if _is_given("DATABASE_URL", found):
        idle |= set(_DATABASE_PARTS) - (set() if names_database(text("DATABASE_URL")) else {"DB_NAME"})
    elif text("DB_TYPE").lower() == "sqlite":
        tls = {name.upper() for name in Settings.model_fields if name.startswith("db_tls")}
        idle |= {*_DATABASE_PARTS, *tls} - {"DB_NAME"}
    return idle | _files(idle)


def _is_given(name: str, found: Mapping[str, Found]) -> bool:
    """Whether `name` or its file is set, even where the file cannot be read."""
    return any(each in found and bool(found[each].text) for each in (name, f"{name}_FILE"))


def _files(names: Collection[str]) -> set[str]:
    return {f"{name}_FILE" for name in SECRETS if name in names}


def _without(found: Mapping[str, Found], names: Collection[str]) -> dict[str, Found]:
    return {name: each for name, each in found.items() if name not in names}


def _check(given: Mapping[str, Found], problems: list[str]) -> tuple[Settings, dict[str, str]]:
    """Settings with whatever is usable of `given`, and what is not, as it may be shown.

    Each of these is a problem, in our words and not in pydantic's.
    """
    garbled = {name for name, each in given.items() if _is_garbled(name, each.text)}
    refused = dict.fromkeys(garbled, "with a character that is not visible or cannot be sent")
    texts = {name.lower(): each.text for name, each in given.items() if name not in refused}
    try:
        settings = Settings(**texts)  # type: ignore[arg-type]  # texts are what it converts
    except ValidationError as error:
        for each in error.errors(include_input=False, include_url=False):
            refused.setdefault(str(each["loc"][0]).upper(), str(each.get("ctx", {}).get("error", "")))
        usable = {name: text for name, text in texts.items() if name.upper() not in refused}
        settings = Settings(**usable)  # type: ignore[arg-type]
    unusable = {name: _shown(name, given[name].text) for name in _NAMES if name in refused}
    problems.extend(_refusal(name, shown, refused[name]) for name, shown in unusable.items())
    return settings, unusable


def _is_garbled(name: str, text: str) -> bool:
    """Whether no setting can hold `text`. A password may hold control characters, but no NUL, and only UTF-8."""
    if name in VERBATIM:
        return any(each == "\0" or "\ud800" <= each <= "\udfff" for each in text)
    return has_hidden_characters(text)


def _refusal(name: str, shown: str, reason: str) -> str:
    return f"{name}: got {shown}, takes {about(name.lower()).takes}" + (f" ({reason})" if reason else "")


def _check_targets(settings: Settings, needs: Collection[Need], problems: list[str]) -> None:
    """Add what only the settings together can tell, unless it follows from a problem that is known already."""
    known = {problem.partition(":")[0].removesuffix("_FILE") for problem in problems}
    for need, url, target in (
        ("database", "DATABASE_URL", settings.database_target),
        ("redis", "REDIS_URL", settings.redis_target),
    ):
        if need in needs and url not in known:
            try:
                target()
            except ConfigError as error:
                problems.extend(each for each in error.problems if not _follows(each.partition(":")[0], known))


def _follows(name: str, known: Collection[str]) -> bool:
    """Whether a problem with `name` may come from leaving out a bad value: its own, or one of the same family."""
    families = [family for family in _FAMILIES if name.startswith(family)]
    return name in known or any(each.startswith(family) for family in families for each in known)


def _shown(name: str, text: str) -> str:
    """A value in an error message. One with an @ may be a URL with a password in the wrong place."""
    if name.upper() in SECRETS or "@" in text:
        return "***"
    return repr(text if len(text) <= 60 else text[:60] + "…")
