"""The settings, and what they add up to: targets, secrets, warnings."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

import msgspec
from pydantic import PrivateAttr, SecretStr

from peekaping_producer.errors import ConfigError
from peekaping_producer.monitors import zones
from peekaping_producer.settings.environment import VERBATIM, cleaned
from peekaping_producer.settings.fields import Fields, about
from peekaping_producer.settings.logins import passwords, readings
from peekaping_producer.settings.parameters import Asked, sort_out
from peekaping_producer.settings.sentinels import from_parts, with_password
from peekaping_producer.settings.types import DbType, Need, listening_address
from peekaping_producer.settings.urls import DIALECTS, parse_database_url, parse_redis_url, passwords_in
from peekaping_producer.targets import DatabaseTarget, Dialect, Login, RedisTarget, Tls

_TLS_FILES = ("ca_file", "cert_file", "key_file")


class Settings(Fields):
    """All settings and where each came from.

    The targets check what only the settings together can tell; both they and `load_settings` raise ConfigError.
    """

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _unusable: dict[str, str] = PrivateAttr(default_factory=dict)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    def origin(self, name: str) -> str:
        """Where the setting `name` (DB_HOST) came from: environment, .env, file, default, or not read."""
        return self._origins.get(name, "default")

    @property
    def unusable(self) -> Mapping[str, str]:
        """The settings that were given and cannot be used, as they may be shown; here they have their defaults."""
        return self._unusable

    def with_notes(self, origins: dict[str, str], unusable: dict[str, str], warnings: Iterable[str]) -> Self:
        """The same settings, knowing where they came from, what was wrong with them, and what looks wrong."""
        copy = self.model_copy()
        copy._origins = origins
        copy._unusable = unusable
        copy._warnings = tuple(warnings)
        return copy

    @property
    def in_urls(self) -> dict[str, tuple[object, str]]:
        """What the parts' names (DB_HOST) have in a URL that replaces them, and that URL's own name."""
        found: dict[str, tuple[object, str]] = {}
        for url, text, parts in (
            ("DATABASE_URL", self.database_url, _database_parts),
            ("REDIS_URL", self.redis_url, _redis_parts),
        ):
            with suppress(ConfigError):  # a problem of its own
                found |= {name: (value, url) for name, value in parts(text.get_secret_value()).items()} if text else {}
        return found

    @property
    def is_verbose(self) -> bool:
        """Whether a production's log holds what is for developers."""
        return self.mode == "prod" and self.log_level == "debug"

    def as_environment(self, group: Need) -> dict[str, str]:
        """The settings of a group that were given, as variables for a process in another working directory."""
        given = ((name, value) for name, value in self if name in self.model_fields_set and about(name).group == group)
        return {name.upper(): _as_variable(name, value) for name, value in given}

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """(host, port) of probes and metrics; None where they are off."""
        return listening_address(self.metrics_addr)

    @property
    def metrics_addr_explicit(self) -> bool:
        """Whether METRICS_ADDR was given: then its port must be free."""
        return "metrics_addr" in self.model_fields_set

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works, but hardly as meant: a sentence each."""
        said = []
        if zones.of_server(self.tz) is None:
            said.append(f"TZ: got {self.tz!r}, which is no IANA zone: UTC is used.")
        for name in ("db_tls", "redis_tls"):
            if not getattr(self, f"{name}_verify"):
                said.append(f"{name.upper()}_VERIFY: got false: whoever answers there is believed to be the server.")
        for name in VERBATIM:
            password = _text(getattr(self, name.lower())) or ""
            if password != cleaned(password):
                said.append(f"{name}: has blanks, line ends or quotes around it, which are sent as part of it.")
        for value, url in self.in_urls.values():
            if isinstance(value, SecretStr) and re.fullmatch("<.+>", value.get_secret_value()):
                said.append(f"{url}: its password stands in < and >. Replace the provider's placeholder.")
        return (*said, *self._warnings)

    @property
    def secrets(self) -> frozenset[str]:
        """Every text that must not be shown: passwords, and URLs with the passwords in them, as written and decoded."""
        texts = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        texts += passwords(self.db_pass.get_secret_value()) if self.db_pass else ()
        for name, url in (("DATABASE_URL", self.database_url), ("REDIS_URL", self.redis_url)):
            texts += passwords_in(name, url.get_secret_value()) if url else ()
        return frozenset(filter(None, texts))

    def redis_target(self) -> RedisTarget:
        """The Redis server meant. Raises ConfigError."""
        problems: list[str] = []
        asked = Asked()
        if self.redis_url:
            target, asked = parse_redis_url(self.redis_url.get_secret_value(), problems)
        else:
            target = RedisTarget(
                host=self.redis_host,
                port=self.redis_port,
                sentinels=from_parts(self.redis_sentinels, self.redis_sentinel_master, problems),
                db=self.redis_db,
                username=self.redis_username,
                password=_text(self.redis_password),
            )
        sentinels = target.sentinels
        if sentinels or not self.redis_sentinels:  # else it is said already what is wrong with them
            sentinels = with_password(sentinels, _text(self.redis_sentinel_password), problems)
        target = msgspec.structs.replace(target, sentinels=sentinels, tls=self._tls("redis_tls", asked, problems))
        if problems:
            raise ConfigError(problems)
        return target

    def database_target(self) -> DatabaseTarget:
        """The database meant. Raises ConfigError."""
        problems: list[str] = []
        url = self.database_url
        target = self._database_in_url(url, problems) if url else self._database_in_parts(problems)
        if target.dialect != "sqlite":
            params, asked = _sorted_out(target, problems)
            tls = self._tls("db_tls", asked, problems)
            target = msgspec.structs.replace(target, params=params, tls=tls)
        if problems:
            raise ConfigError(problems)
        return target

    def _database_in_url(self, url: SecretStr, problems: list[str]) -> DatabaseTarget:
        target = parse_database_url(url.get_secret_value(), self.db_name or "")
        if self.db_type and _dialect(self.db_type) != target.dialect:
            problems.append(
                f"DB_TYPE: got {self.db_type!r}, takes what DATABASE_URL says ({target.dialect}), or to be left out"
            )
        return target

    def _database_in_parts(self, problems: list[str]) -> DatabaseTarget:
        needed = ["db_type", "db_name"]
        if self.db_type not in {None, "sqlite"}:
            needed += ["db_host", "db_port", "db_user", "db_pass"]
        for name in needed:
            if getattr(self, name) is None:
                problems.append(f"{name.upper()}: is not set, takes {about(name).takes} (or set DATABASE_URL)")
        dialect = _dialect(self.db_type or "postgres")
        several, folder = "," in (self.db_host or ""), (self.db_host or "").startswith("/")
        if (several and dialect != "mongo") or (folder and dialect != "postgres"):
            problems.append(f"DB_HOST: got {self.db_host!r}, takes one host name or address ({dialect})")
        literal = Login(user=self.db_user, password=_text(self.db_pass), name=self.db_name or "")
        first, *others = readings(dialect, literal)
        return DatabaseTarget(
            dialect=dialect,
            name=first.name,
            host=self.db_host,
            port=self.db_port,
            user=first.user,
            password=first.password,
            alternates=tuple(others),
        )

    def _tls(self, name: Literal["db_tls", "redis_tls"], asked: Asked, problems: list[str]) -> Tls | None:
        """`asked`: what the URL says about it; a file that is a setting of its own wins."""
        shown, url = name.upper(), "REDIS_URL" if name == "redis_tls" else "DATABASE_URL"
        wanted: bool | None = getattr(self, name)
        verify: bool = getattr(self, f"{name}_verify")
        files: dict[str, str | None] = {part: getattr(self, f"{name}_{part}") for part in _TLS_FILES}
        if None not in (wanted, asked.tls) and wanted != asked.tls:
            problems.append(f"{shown}: got {str(wanted).lower()}, takes what the URL says, or to be left out")
        if asked.unverified and verify:
            problems.append(f"{url}: asks not to verify the server's certificate, takes {shown}_VERIFY=false beside it")
        if not (asked.tls if wanted is None else wanted):
            given = [f"{shown}_{part.upper()}: is set" for part, path in files.items() if path]
            given += [f"{url}: got a file of certificates" for _ in asked.files][:1]
            problems.extend(f"{each}, but TLS is off: takes {shown}=true" for each in given)
            return None
        files = {part: path or asked.files.get(part) for part, path in files.items()}
        if files["key_file"] and not files["cert_file"]:
            problems.append(f"{shown}_KEY_FILE: is set alone, takes {shown}_CERT_FILE beside it")
        return Tls(verify=verify, **files)


def _text(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _sorted_out(target: DatabaseTarget, problems: list[str]) -> tuple[dict[str, str], Asked]:
    """What `sort_out` makes of the parameters of a database other than sqlite."""
    assert target.dialect != "sqlite"
    params, asked = sort_out(target.dialect, target.params, problems)
    if target.dialect == "mongo" and target.port is None and asked.tls is None:
        asked = msgspec.structs.replace(asked, tls=True)  # mongodb+srv:// means TLS
    return params, asked


def _tls_parts(name: str, asked: Asked) -> dict[str, object]:
    """What a URL says about TLS, by the names of the settings; what it leaves open is not there."""
    switch: dict[str, object] = {} if asked.tls is None else {name: asked.tls}
    return switch | {f"{name}_{part.upper()}": path for part, path in asked.files.items()}


def _database_parts(url: str) -> dict[str, object]:
    target = parse_database_url(url, " ")
    parts: dict[str, object] = {"DB_TYPE": target.dialect, "DB_NAME": target.name}
    if target.dialect != "sqlite":
        parts |= {"DB_HOST": target.host, "DB_PORT": target.port, "DB_USER": target.user}
        parts["DB_PASS"] = target.password and SecretStr(target.password)
        parts |= _tls_parts("DB_TLS", _sorted_out(target, [])[1])
    return parts


def _redis_parts(url: str) -> dict[str, object]:
    target, asked = parse_redis_url(url, [])
    login = {"REDIS_USERNAME": target.username, "REDIS_PASSWORD": target.password and SecretStr(target.password)}
    rest = {**login, "REDIS_DB": target.db, **_tls_parts("REDIS_TLS", asked)}
    if target.sentinels:
        return {"REDIS_SENTINELS": str(target.sentinels), "REDIS_SENTINEL_MASTER": target.sentinels.master, **rest}
    return {"REDIS_HOST": target.host, "REDIS_PORT": target.port, **rest}


def _as_variable(name: str, value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(Path(str(value)).absolute() if name.endswith("_file") else value)


def _dialect(db_type: DbType) -> Dialect:
    return "mongo" if db_type == "mongo" else DIALECTS[db_type]
