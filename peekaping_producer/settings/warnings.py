"""Settings that work but are probably a mistake: one sentence each."""

import re
from collections.abc import Collection, Iterator

from pydantic import SecretStr

from peekaping_producer.monitors import zones
from peekaping_producer.settings.addresses import hidden_port, is_loopback
from peekaping_producer.settings.fields import NAMES
from peekaping_producer.settings.groups import SettingsGroup
from peekaping_producer.settings.lookalikes import lookalikes
from peekaping_producer.settings.model import Settings
from peekaping_producer.settings.source import DATABASE_PARTS, RABBITMQ_PARTS, REDIS_ADDRESS, Source
from peekaping_producer.settings.texts import VERBATIM, strip_wrapping
from peekaping_producer.settings.ui import has_every_address

_INSTEAD = {"DATABASE_URL": DATABASE_PARTS, "REDIS_URL": REDIS_ADDRESS | {"REDIS_SENTINELS"}} | {
    "RABBITMQ_URL": RABBITMQ_PARTS
}
"""The settings that make a URL unnecessary."""
_ADDRESSES = (("DB_HOST", "DB_PORT"), ("REDIS_HOST", "REDIS_PORT"), ("RABBITMQ_HOST", "RABBITMQ_PORT"))


def warnings_about(settings: Settings, source: Source, groups: Collection[SettingsGroup]) -> list[str]:
    """The warnings about a command's settings and their names."""
    return [*_about_values(settings, groups), *hints_about(source, groups), *_about_sources(settings, source)]


def hints_about(source: Source, groups: Collection[SettingsGroup]) -> list[str]:
    """The names that resemble a setting without a value."""
    unset = {
        name
        for name in set(NAMES) - source.not_read - source.given.keys()
        if source.given.keys().isdisjoint(_INSTEAD.get(name, ()))
    }
    return lookalikes(source.names, unset, groups)


def _about_values(settings: Settings, groups: Collection[SettingsGroup]) -> Iterator[str]:
    if zones.of_server(settings.tz) is None:
        yield f"TZ: expected an IANA time zone, got {settings.tz!r}; UTC is used."
    for name in ("DB_TLS_VERIFY", "REDIS_TLS_VERIFY", "RABBITMQ_TLS_VERIFY"):
        if not getattr(settings, name.lower()):
            yield f"{name}: certificate verification is disabled, so the server's identity is not checked."
    for name in VERBATIM:
        password: SecretStr | None = getattr(settings, name.lower())
        if password and password.get_secret_value() != strip_wrapping(password.get_secret_value()):
            yield f"{name}: leading or trailing whitespace or quotes are sent as part of the password."
    for value, url in settings.in_urls.values():
        if isinstance(value, SecretStr) and re.fullmatch("<.+>", value.get_secret_value()):
            yield f"{url}: the password is in < and >. Replace the provider's placeholder."
    if "producer" in groups and (settings.mode, settings.log_level) == ("prod", "debug"):
        yield "LOG_LEVEL: debug with MODE=prod logs every batch. Set LOG_LEVEL=info."
    if "ui" in groups and settings.ui_proxy_user_header and has_every_address(settings.ui_proxy_from):
        yield (
            f"UI_PROXY_FROM: contains every address, so every host that reaches the page can send any "
            f"{settings.ui_proxy_user_header}. Set it to the addresses of the proxy."
        )
    address = settings.ui_address if "ui" in groups else None
    if address and settings.ui_anonymous == "read" and not settings.ui_hosts and not is_loopback(address[0]):
        yield (
            "UI_HOSTS: not set, and UI_ANONYMOUS=read, so a web site that a user opens can read the page through the "
            "user's browser (DNS rebinding). Set it to the host names at which browsers open the page."
        )
    if "api" in groups and settings.api_token is None and not is_loopback(settings.api_host):
        yield (
            f"API_TOKEN: not set, and the API listens on {settings.api_host}: every host that reaches port "
            f"{settings.port} can produce messages. Set it, or API_HOST=127.0.0.1."
        )


def _about_sources(settings: Settings, source: Source) -> Iterator[str]:
    """Parts beside a URL with another value (Kubernetes sets ports that are URLs), and ports in IPv6 addresses."""
    for name, (value, url) in settings.in_urls.items():
        text = source.replaced[name].text if name in source.replaced else ""
        other = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        if text not in {"", other} and "://" not in text:
            yield f"{name}: not read, because {url} is set and has another value."
    for name, port_name in _ADDRESSES:
        text = source.given[name].text.split(",")[-1].strip() if name in source.given else ""
        if port := hidden_port(text):
            yield (
                f"{name}: got {text!r}, which is read as an address without a port. If {port} is the port, leave it "
                f"out and set {port_name}={port}; otherwise write [{text}]."
            )
