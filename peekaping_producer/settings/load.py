"""Loading: all settings that a command needs, and every problem with them at once."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings.fields import description
from peekaping_producer.settings.groups import PRODUCER_GROUPS, SettingsGroup
from peekaping_producer.settings.model import Settings
from peekaping_producer.settings.source import ENV_FILES, Source
from peekaping_producer.settings.texts import masked
from peekaping_producer.settings.warnings import hints_about, warnings_about

_FAMILIES = ("DB_TLS", "REDIS_TLS", "REDIS_SENTINEL", "RABBITMQ_TLS", "UI_")
"""Prefixes of names that depend on each other."""


class _Loaded(BaseSettings, Settings):
    """Settings that a Source fills; Settings made by hand read nothing."""


def load_settings(
    groups: Collection[SettingsGroup] = PRODUCER_GROUPS,
    *,
    environ: Mapping[str, str] | None = None,
    env_files: Sequence[Path] = ENV_FILES,
) -> Settings:
    """The settings of a command that needs `groups`, from the environment, which overrides `.env` files.

    A setting of a group that is not needed, or that a URL (or sqlite) replaces, is not read. An empty value counts as
    not set, except for METRICS_ADDR and UI_ADDR. Raises ConfigError with all problems.
    """
    source = Source(_Loaded, groups, environ, env_files)
    settings, problems = _inspected(source)
    if problems:
        raise ConfigError(problems, hints_about(source, source.groups))
    return settings


def inspect_settings(
    groups: Collection[SettingsGroup] = PRODUCER_GROUPS,
    *,
    environ: Mapping[str, str] | None = None,
    env_files: Sequence[Path] = ENV_FILES,
) -> tuple[Settings, list[str]]:
    """As `load_settings`, but return all usable settings and the problems. A bad setting has its default.

    Raises ConfigError only for a `.env` file that cannot be read.
    """
    return _inspected(Source(_Loaded, groups, environ, env_files))


def _inspected(source: Source) -> tuple[Settings, list[str]]:
    settings, invalid, problems = _validated(source)
    problems = source.problems + problems
    problems += _problems_of_targets(settings, source.groups, known=problems)
    origins = {name: value.origin for name, value in source.given.items()} | dict.fromkeys(source.not_read, "not read")
    return settings.with_notes(origins, invalid, warnings_about(settings, source, source.groups)), problems


def _validated(source: Source) -> tuple[Settings, dict[str, str], list[str]]:
    """The usable settings, the others as they may be shown, and a problem for each of these."""
    try:
        return _Loaded(_build_sources=((source,), {})), {}, []
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False)
    reasons = {str(error["loc"][0]).upper(): error.get("ctx", {}).get("error", "") for error in reversed(errors)}
    invalid = {name: masked(name, value.text) for name, value in source.given.items() if name in reasons}
    source.env_vars = {name: text for name, text in source.env_vars.items() if name not in invalid}
    problems = [_refusal(name, text, str(reasons[name])) for name, text in invalid.items()]
    return _Loaded(_build_sources=((source,), {})), invalid, problems


def _refusal(name: str, text: str, reason: str) -> str:
    return f"{name}: expected {description(name).expected}, got {text}" + (f" ({reason})" if reason else "")


def _problems_of_targets(settings: Settings, groups: Collection[SettingsGroup], known: Collection[str]) -> list[str]:
    """The problems of settings that do not fit together, unless they may follow from `known` ones."""
    names = {problem.partition(":")[0].removesuffix("_FILE") for problem in known}
    found: list[str] = []
    for group, url, target in (
        ("database", "DATABASE_URL", settings.database_target),
        ("redis", "REDIS_URL", settings.redis_target),
        ("rabbitmq", "RABBITMQ_URL", settings.rabbitmq_target),
        ("http", "HTTP_URL", settings.http_target),
        ("ui", "UI_ADDR", settings.ui_access),
    ):
        if group in groups and url not in names:
            try:
                target()
            except ConfigError as error:
                found += [problem for problem in error.problems if not _follows(problem.partition(":")[0], names)]
    return found


def _follows(name: str, known: Collection[str]) -> bool:
    """Whether a problem with `name` may come from the absence of a bad value: its own, or one of the same family."""
    families = [family for family in _FAMILIES if name.startswith(family)]
    return name in known or any(other.startswith(family) for family in families for other in known)
