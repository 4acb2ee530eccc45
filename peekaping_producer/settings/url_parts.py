"""What the URLs contain, by the names of the settings that they replace."""

from collections.abc import Mapping
from contextlib import suppress

import msgspec
from pydantic import SecretStr

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings.parameters import TlsRequest, classify_parameters
from peekaping_producer.settings.urls import parse_database_url, parse_rabbitmq_url, parse_redis_url
from peekaping_producer.targets import DatabaseTarget


def parts_of_urls(urls: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    """By the names of the parts (DB_HOST): the value in the URL, and the name of the URL. `urls`: texts by name."""
    found: dict[str, tuple[object, str]] = {}
    for name, parts_of in _PARTS_OF.items():
        with suppress(ConfigError):  # reported elsewhere
            found |= {part: (value, name) for part, value in parts_of(urls[name]).items()} if name in urls else {}
    return found


def sorted_out(target: DatabaseTarget, problems: list[str]) -> tuple[dict[str, str], TlsRequest]:
    """The parameters for the store of a database other than sqlite, and what the URL requests about TLS."""
    assert target.dialect != "sqlite"
    params, requested = classify_parameters(target.dialect, target.params, problems)
    if target.dialect == "mongo" and target.port is None and requested.tls is None:
        requested = msgspec.structs.replace(requested, tls=True)  # mongodb+srv:// means TLS
    return params, requested


def _tls_parts(name: str, requested: TlsRequest) -> dict[str, object]:
    """What a URL requests about TLS, by the names of the settings."""
    switch: dict[str, object] = {} if requested.tls is None else {name: requested.tls}
    return switch | {f"{name}_{part.upper()}": path for part, path in requested.files.items()}


def _database_parts(url: str) -> dict[str, object]:
    target = parse_database_url(url, " ")
    parts: dict[str, object] = {"DB_TYPE": target.dialect, "DB_NAME": target.name}
    if target.dialect != "sqlite":
        parts |= {"DB_HOST": target.host, "DB_PORT": target.port, "DB_USER": target.user}
        parts["DB_PASS"] = target.password and SecretStr(target.password)
        parts |= _tls_parts("DB_TLS", sorted_out(target, [])[1])
    return parts


def _redis_parts(url: str) -> dict[str, object]:
    target, requested = parse_redis_url(url, [])
    login = {"REDIS_USERNAME": target.username, "REDIS_PASSWORD": target.password and SecretStr(target.password)}
    rest = {**login, "REDIS_DB": target.db, **_tls_parts("REDIS_TLS", requested)}
    if target.sentinels:
        return {"REDIS_SENTINELS": str(target.sentinels), "REDIS_SENTINEL_MASTER": target.sentinels.master, **rest}
    return {"REDIS_HOST": target.host, "REDIS_PORT": target.port, **rest}


def _rabbitmq_parts(url: str) -> dict[str, object]:
    target, requested = parse_rabbitmq_url(url, [])
    address = {"RABBITMQ_HOST": target.host, "RABBITMQ_PORT": target.port, "RABBITMQ_VHOST": target.vhost}
    login = {"RABBITMQ_USER": target.user, "RABBITMQ_PASS": SecretStr(target.password)}
    return {**address, **login, **_tls_parts("RABBITMQ_TLS", requested)}


_PARTS_OF = {"DATABASE_URL": _database_parts, "REDIS_URL": _redis_parts, "RABBITMQ_URL": _rabbitmq_parts}
