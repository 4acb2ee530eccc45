"""Names in the environment that resemble a setting: typos, and names that other programs use for the same."""

import re
from collections.abc import Collection
from difflib import get_close_matches

from peekaping_producer.service.text import one_line
from peekaping_producer.settings.fields import NAMES
from peekaping_producer.settings.groups import SettingsGroup
from peekaping_producer.settings.texts import FROM_FILES

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
_OF_RABBITMQ = {word: f"RABBITMQ_{word}" for word in _WORDS if word != "NAME"}
_OF_PRODUCER = {
    "METRICS_ADDR": "METRICS_ADDRESS METRICS_HOST METRICS_PORT METRICS_BIND METRICS_LISTEN METRICS_URL HEALTH_PORT",
    "UI_ADDR": "UI_ADDRESS UI_PORT UI_BIND UI_LISTEN UI_URL PAGE_ADDR DASHBOARD_ADDR DASHBOARD_PORT",
    "UI_TOKEN": "UI_PASSWORD UI_PASS UI_SECRET UI_KEY",
    "LEASE_TTL": "LEASE_TIMEOUT LEASE_TIME LEASE_DURATION LEASE_SECONDS LEASE_TTL_SECONDS LEASE_TTL_MS",
    "SYNC_INTERVAL": "SYNC_PERIOD SYNC_SECONDS SYNC_EVERY SYNC_INTERVAL_SECONDS SYNC_INTERVAL_MS",
    "SPREAD_TICKS": "SPREAD SPREADING SPREAD_MONITORS SPREAD_CHECKS TICK_SPREAD JITTER",
    "SHUTDOWN_GRACE": "SHUTDOWN_TIMEOUT SHUTDOWN_SECONDS SHUTDOWN_GRACE_PERIOD SHUTDOWN_GRACE_SECONDS GRACE_PERIOD",
    "STARTUP_TIMEOUT": "STARTUP_TIME STARTUP_WAIT STARTUP_SECONDS STARTUP_TIMEOUT_SECONDS START_TIMEOUT",
    "PRODUCER_CONCURRENCY": "PRODUCER_WORKERS PRODUCER_THREADS PRODUCER_PARALLELISM PRODUCER_POOL_SIZE",
    "CLAIM_BATCH": "CLAIM_SIZE CLAIM_LIMIT CLAIM_COUNT CLAIM_BATCH_SIZE",
    "LOG_LEVEL": "LOG_LVL LOG_VERBOSITY LOGGING_LEVEL LOGGER_LEVEL",
    "TZ": "TIME_ZONE",
}
_ALIASES = {
    f"{prefix}{joint}{spelling}": meant[word]
    for prefixes, meant in (
        ((*_DATABASES, *_MONGO_INITDB), _OF_DATABASE),
        (("REDIS", "VALKEY"), _OF_REDIS),
        (("RABBITMQ", "RABBIT", "AMQP"), _OF_RABBITMQ),
    )
    for prefix in prefixes
    for word, spellings in _WORDS.items()
    if word in meant
    for spelling in spellings
    for joint in ("_", "")
} | {
    name: setting
    for setting, names in _OF_PRODUCER.items()
    for alias in names.split()
    for name in (alias, alias.replace("_", ""))
}
"""The setting that a name of other programs means."""

_KNOWN = {name: name for name in (*NAMES, *(f"{name}_FILE" for name in FROM_FILES))}
_MEANINGS = _ALIASES | _KNOWN

_FAMILIES: dict[SettingsGroup, tuple[str, ...]] = {
    "database": ("DB_", "DATABASE_"),
    "redis": ("REDIS_",),
    "rabbitmq": ("RABBITMQ_",),
    "schedule": (),
    "producer": ("PRODUCER_",),
    "service": (),
    "ui": ("UI_",),
    "startup": ("STARTUP_",),
    "broker": (),
    "http": (),
    "messages": (),
    "consume": ("CONSUME_",),
    "api": (),
    "send": ("SEND_",),
}
"""Prefixes of names that other programs hardly use."""
_OF_OTHERS = re.compile(r".*_(SERVICE_(HOST|PORT).*|PORT_[0-9]+_(TCP|UDP).*|ENV_.*)")
"""Variables that Kubernetes and Docker set for a service of that name."""
_MAX_LENGTH = 60
_CUTOFF = 0.87
"""For difflib: one or two wrong letters of ten."""
_LENGTH_DIFFERENCE = 3
"""The letters that a typo may have more or less."""


def lookalikes(given: Collection[str], unset: Collection[str], groups: Collection[SettingsGroup]) -> list[str]:
    """A sentence for each name of `given` that is not a setting and resembles one of `unset`, the missing settings.

    A name that resembles a setting with a value is for another program. Values are not read.
    """
    families = tuple(prefix for group in groups for prefix in _FAMILIES[group])
    found = []
    for name in sorted(set(given) - set(_KNOWN)):
        plain = re.sub("^EXPORT ", "", name.strip().upper())
        if _OF_OTHERS.fullmatch(plain) or f"{plain.removesuffix('_PORT')}_SERVICE_HOST" in given:
            continue
        meant = _meant(plain)
        shown = one_line(name if name == name.strip() else repr(name), _MAX_LENGTH)
        if meant and {meant, meant.removesuffix("_FILE")} & set(unset):
            found.append(f"{shown}: not a setting, so it is not read. Did you mean {meant}?")
        elif meant is None and plain.startswith(families):
            found.append(f"{shown}: not a setting, so it is not read.")
    return found


def _meant(name: str) -> str | None:
    """The setting that `name`, in capitals, may mean."""
    if name in _MEANINGS:
        return _MEANINGS[name]
    # difflib is slow, and hundreds of variables are usual.
    near = [meant for meant in _MEANINGS if meant[:1] == name[:1] and abs(len(meant) - len(name)) <= _LENGTH_DIFFERENCE]
    close = get_close_matches(name, near, 1, _CUTOFF)
    return _MEANINGS[close[0]] if close else None
