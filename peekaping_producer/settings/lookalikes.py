"""Names that are set and look as if they were meant for a setting: typos, and what other programs call the same."""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches

from peekaping_producer.settings.types import Need

_DATABASES = ("DB", "DATABASE", "POSTGRES", "POSTGRESQL", "PG", "MYSQL", "MARIADB", "MONGO", "MONGODB")
_MONGO_INITDB = ("MONGO_INITDB", "MONGO_INITDB_ROOT")
_WORDS = {
    "HOST": ("HOST", "HOSTNAME", "SERVER", "ADDR", "ADDRESS"),
    "PORT": ("PORT",),
    "NAME": ("NAME", "DB", "DATABASE", "DBNAME"),
    "USER": ("USER", "USERNAME", "LOGIN"),
    "PASS": ("PASS", "PASSWORD", "PASSWD", "PWD", "PW", "AUTH"),
    "URL": ("URL", "URI", "DSN"),
}
_OF_DATABASE = {word: f"DB_{word}" for word in _WORDS} | {"URL": "DATABASE_URL"}
_OF_REDIS = {word: f"REDIS_{word}" for word in _WORDS} | {
    "NAME": "REDIS_DB",
    "USER": "REDIS_USERNAME",
    "PASS": "REDIS_PASSWORD",
}
_ALIASES = {
    f"{prefix}{joint}{spelling}": meant[word]
    for prefixes, meant in (((*_DATABASES, *_MONGO_INITDB), _OF_DATABASE), (("REDIS", "VALKEY"), _OF_REDIS))
    for prefix in prefixes
    for word, spellings in _WORDS.items()
    for spelling in spellings
    for joint in ("_", "")
} | {"TIMEZONE": "TZ", "TIME_ZONE": "TZ"}
"""What other programs call it, by name."""

_FAMILIES: dict[Need, tuple[str, ...]] = {
    "database": ("DB_", "DATABASE_"),
    "redis": ("REDIS_",),
    "producer": ("PRODUCER_",),
}
"""How names begin that are hardly meant for another program."""
_OF_OTHERS = re.compile(r".*_(SERVICE_(HOST|PORT).*|PORT_[0-9]+_(TCP|UDP).*|ENV_.*)")
"""Kubernetes and Docker set these for a service of that name."""
_LONGEST = 60
_CUTOFF = 0.87
"""Of difflib: one or two wrong letters of ten."""
_MISSING = 3
"""Letters by which a typo may be longer or shorter."""


def lookalikes(
    given: Collection[str], settings: Collection[str], unset: Collection[str], needs: Collection[Need]
) -> list[str]:
    """A sentence for each name of `given` that is no setting and resembles one; values are not looked at.

    `unset` are the settings that count and have no value: a name that resembles another one is for another program.
    """
    families = tuple(prefix for need in needs for prefix in _FAMILIES[need])
    known = _ALIASES | {name: name for name in settings}
    said = []
    for name in sorted(set(given) - set(settings)):
        plain = re.sub("^EXPORT ", "", name.strip().upper())
        if _OF_OTHERS.fullmatch(plain) or f"{plain.removesuffix('_PORT')}_SERVICE_HOST" in given:
            continue
        meant = _meant(plain, known)
        if meant in unset:
            said.append(f"{_shown(name)}: not a setting, so it is not read. Did you mean {meant}?")
        elif meant is None and plain.startswith(families):
            said.append(f"{_shown(name)}: not a setting, so it is not read.")
    return said


def _meant(name: str, known: Mapping[str, str]) -> str | None:
    """The setting that `name`, in capitals, may stand for."""
    if name in known:
        return known[name]
    # difflib is slow, and hundreds of variables are usual.
    near = [each for each in known if each[:1] == name[:1] and abs(len(each) - len(name)) <= _MISSING]
    close = get_close_matches(name, near, 1, _CUTOFF)
    return known[close[0]] if close else None


def _shown(name: str) -> str:
    short = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"
    return short if short.isprintable() and short == short.strip() else repr(short)
