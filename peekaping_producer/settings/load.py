"""Settings from the environment: found, checked, and everything that is wrong with them reported at once."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import ValidationError

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings.environment import Found, merge, read_dotenv, resolve_files
from peekaping_producer.settings.fields import about
from peekaping_producer.settings.kinds import Need
from peekaping_producer.settings.model import Settings

ALL: frozenset[Need] = frozenset({"database", "redis", "producer"})

SECRETS = ("DB_PASS", "DATABASE_URL", "REDIS_PASSWORD", "REDIS_URL", "REDIS_SENTINEL_PASSWORD")
"""Each may come from a file: NAME_FILE."""

_DATABASE_PARTS = ("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASS")
_REDIS_ADDRESS = ("REDIS_HOST", "REDIS_PORT")
_REDIS_PARTS = (*_REDIS_ADDRESS, "REDIS_PASSWORD", "REDIS_DB", "REDIS_SENTINELS", "REDIS_SENTINEL_MASTER")
_FAMILIES = ("DB_TLS", "REDIS_TLS", "REDIS_SENTINEL")
"""How names begin that only make sense together."""


def load_settings(
    needs: Collection[Need] = ALL, *, environ: Mapping[str, str] | None = None, dotenv: Path = Path(".env")
) -> Settings:
    """The settings of a command that needs `needs`, from the environment and a `.env` file, where the former wins.

    A setting of a group that is not needed, or that a URL (or sqlite) makes idle, is not looked at. An empty value is
    no value, but for METRICS_ADDR. Raises ConfigError with every problem there is.
    """
    problems: list[str] = []
    names = [name.upper() for name in Settings.model_fields]
    names += [f"{name}_FILE" for name in SECRETS]
    found = merge(names, os.environ if environ is None else environ, _dotenv(dotenv))
    idle = _idle(found, needs)
    found = resolve_files({name: each for name, each in found.items() if name not in idle}, SECRETS, problems)
    given = {name: each for name, each in found.items() if each.text or name == "METRICS_ADDR"}
    settings = _check(given, problems)
    _check_targets(settings, needs, problems)
    if problems:
        raise ConfigError(problems)
    return settings.with_origins({name: each.origin for name, each in given.items()} | dict.fromkeys(idle, "not read"))


def _dotenv(path: Path) -> dict[str, str]:
    """Raises ConfigError at once: without the file nothing can be said about the rest."""
    try:
        return read_dotenv(path)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror}), takes to be readable or absent"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: cannot be read, takes UTF-8 text"]) from None


def _idle(found: Mapping[str, Found], needs: Collection[Need]) -> set[str]:
    """The names that do not count here: those of other commands, and those that a URL, sentinels or sqlite replace."""

    def text(name: str) -> str:
        return found[name].text if name in found else ""

    idle = {name.upper() for name in Settings.model_fields if about(name).group not in {None, *needs}}
    if text("REDIS_URL") or text("REDIS_URL_FILE"):
        idle |= set(_REDIS_PARTS)
    elif text("REDIS_SENTINELS"):
        idle |= set(_REDIS_ADDRESS)
    if text("DATABASE_URL") or text("DATABASE_URL_FILE"):
        idle |= set(_DATABASE_PARTS)
    elif text("DB_TYPE").lower() == "sqlite":
        tls = {name.upper() for name in Settings.model_fields if name.startswith("db_tls")}
        idle |= {*_DATABASE_PARTS, *tls} - {"DB_NAME"}
    return idle | {f"{name}_FILE" for name in idle & set(SECRETS)}


def _check(given: Mapping[str, Found], problems: list[str]) -> Settings:
    """Settings with whatever is usable of `given`; what is not is a problem, in our words and not in pydantic's."""
    texts = {name.lower(): each.text for name, each in given.items()}
    try:
        return Settings(**texts)  # type: ignore[arg-type]  # texts are what it converts
    except ValidationError as error:
        unusable = dict.fromkeys(str(each["loc"][0]) for each in error.errors(include_input=False, include_url=False))
    problems.extend(f"{name.upper()}: got {_shown(name, texts[name])}, takes {about(name).takes}" for name in unusable)
    return Settings(**{name: text for name, text in texts.items() if name not in unusable})  # type: ignore[arg-type]


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
