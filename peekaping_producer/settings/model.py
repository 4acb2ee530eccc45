"""The settings of one process, and what follows from them: targets and secrets."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

import msgspec
from pydantic import PrivateAttr, SecretStr, ValidationInfo, field_validator

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings.fields import Fields, description
from peekaping_producer.settings.groups import SettingsGroup, group_names
from peekaping_producer.settings.logins import login_candidates, passwords
from peekaping_producer.settings.parameters import TlsRequest, classify_parameters
from peekaping_producer.settings.sentinels import from_parts, with_password
from peekaping_producer.settings.texts import has_forbidden_characters
from peekaping_producer.settings.types import DbType, WebUrl, listening_address
from peekaping_producer.settings.urls import (
    DIALECTS,
    parse_database_url,
    parse_rabbitmq_url,
    parse_redis_url,
    passwords_in,
)
from peekaping_producer.targets import (
    DatabaseTarget,
    Dialect,
    HttpTarget,
    Login,
    RabbitMqTarget,
    RedisTarget,
    Tls,
    secrets_in_url,
    url_below,
)

_URL_OF = {"db_tls": "DATABASE_URL", "redis_tls": "REDIS_URL", "rabbitmq_tls": "RABBITMQ_URL"}
_TLS_FILES = ("ca_file", "cert_file", "key_file")


class Settings(Fields, frozen=True, extra="forbid", hide_input_in_errors=True):
    """All settings, their origins, and what is wrong with them. None is a setting without a value.

    `database_target`, `redis_target` and `rabbitmq_target` check whether settings fit together, and raise ConfigError.
    """

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _invalid: dict[str, str] = PrivateAttr(default_factory=dict)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_hidden_characters(cls, given: object, info: ValidationInfo) -> object:
        if isinstance(given, str) and has_forbidden_characters(str(info.field_name).upper(), given):
            raise ValueError("contains a control or invisible character")
        return given

    def origin(self, name: str) -> str:
        """The origin of a setting (DB_HOST): environment, the path of a `.env` file, file, default, or not read."""
        return self._origins.get(name, "default")

    @property
    def invalid(self) -> Mapping[str, str]:
        """The bad settings as they may be shown; here they have their defaults."""
        return self._invalid

    def with_notes(self, origins: dict[str, str], invalid: dict[str, str], warnings: Iterable[str]) -> Self:
        """A copy with the origins, the bad settings as they may be shown, and the warnings."""
        copy = self.model_copy()
        copy._origins = origins
        copy._invalid = invalid
        copy._warnings = tuple(warnings)
        return copy

    @property
    def in_urls(self) -> dict[str, tuple[object, str]]:
        """By the names of the parts (DB_HOST) that a URL replaces: the value in the URL, and the URL's name."""
        found: dict[str, tuple[object, str]] = {}
        for url, text, parts in (
            ("DATABASE_URL", self.database_url, _database_parts),
            ("REDIS_URL", self.redis_url, _redis_parts),
            ("RABBITMQ_URL", self.rabbitmq_url, _rabbitmq_parts),
        ):
            with suppress(ConfigError):  # reported elsewhere
                found |= {name: (value, url) for name, value in parts(text.get_secret_value()).items()} if text else {}
        return found

    def as_environment(self, group: SettingsGroup) -> dict[str, str]:
        """The given settings of a group as variables for a process in another working directory."""
        names = {name for name in self.model_fields_set if name.upper() in group_names(group)}
        return {name.upper(): _as_variable(name, value) for name, value in self if name in names}

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """(host, port) of probes and metrics; None if they are off."""
        return listening_address(self.metrics_addr)

    @property
    def metrics_addr_explicit(self) -> bool:
        """Whether METRICS_ADDR is set; its port must then be free."""
        return "metrics_addr" in self.model_fields_set

    @property
    def log_mode(self) -> Literal["dev", "prod", "test"]:
        """MODE; if it is not set, what FLASK_ENV means."""
        if self.flask_env and "mode" not in self.model_fields_set:
            return "dev" if self.flask_env == "development" else "prod"
        return self.mode

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about settings that work but are probably a mistake."""
        return self._warnings

    @property
    def secrets(self) -> frozenset[str]:
        """All texts that must not be shown: passwords, tokens, URLs, and the secrets in URLs, as written and decoded.

        A WebUrl itself may be shown.
        """
        texts: list[str] = []
        for _, value in self:
            if isinstance(value, WebUrl):
                texts += secrets_in_url(value.get_secret_value())
            elif isinstance(value, SecretStr):
                texts.append(value.get_secret_value())
        texts += passwords(self.db_pass.get_secret_value()) if self.db_pass else ()
        for name in ("DATABASE_URL", "REDIS_URL", "RABBITMQ_URL"):
            url: SecretStr | None = getattr(self, name.lower())
            texts += passwords_in(name, url.get_secret_value()) if url else ()
        return frozenset(filter(None, texts))

    def redis_target(self) -> RedisTarget:
        """The Redis server of these settings. Raises ConfigError."""
        problems: list[str] = []
        requested = TlsRequest()
        if self.redis_url:
            target, requested = parse_redis_url(self.redis_url.get_secret_value(), problems)
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
        if sentinels or not self.redis_sentinels:  # otherwise their problem is known
            sentinels = with_password(sentinels, _text(self.redis_sentinel_password), problems)
        target = msgspec.structs.replace(target, sentinels=sentinels, tls=self._tls("redis_tls", requested, problems))
        if problems:
            raise ConfigError(problems)
        return target

    def http_target(self) -> HttpTarget:
        """The HTTP endpoint of these settings. Raises ConfigError."""
        url = _text(self.http_url)
        if url is None:
            raise ConfigError([f"HTTP_URL: expected {description('HTTP_URL').expected}, got nothing"])
        if self.http_token and "@" in urlsplit(url).netloc:
            raise ConfigError(["HTTP_TOKEN: expected no user in HTTP_URL, got both; remove one of them"])
        return HttpTarget(
            url=url,
            token=_text(self.http_token),
            success=frozenset({self.http_success} if self.http_success else range(200, 300)),
            attempts=self.http_attempts,
            retry_delay_s=self.http_retry_delay,
            timeout_s=self.http_timeout,
            in_flight=self.http_in_flight,
        )

    def api_target(self) -> HttpTarget:
        """The endpoint of `send`."""
        return HttpTarget(
            url=url_below(self.api_url.get_secret_value(), "/api/messages"),
            user_agent=self.send_user_agent,
            success=frozenset({201}),
            attempts=self.send_attempts,
            retry_delay_s=self.send_retry_delay,
            timeout_s=self.send_timeout,
        )

    def rabbitmq_target(self) -> RabbitMqTarget:
        """The RabbitMQ server and queue of these settings. Raises ConfigError."""
        problems: list[str] = []
        requested = TlsRequest()
        if self.rabbitmq_url:
            target, requested = parse_rabbitmq_url(self.rabbitmq_url.get_secret_value(), problems)
        else:
            target = RabbitMqTarget(
                host=self.rabbitmq_host,
                port=self.rabbitmq_port,
                user=self.rabbitmq_user,
                password=_text(self.rabbitmq_pass) or "password",
                vhost=self.rabbitmq_vhost,
            )
        target = msgspec.structs.replace(
            target,
            tls=self._tls("rabbitmq_tls", requested, problems),
            heartbeat_s=self.rabbitmq_heartbeat,
            queue=self.rabbitmq_queue,
            queue_type=self.rabbitmq_queue_type,
            blocked_timeout_s=self.rabbitmq_blocked_timeout,
            retention_days=None if self.rabbitmq_retention == "off" else int(self.rabbitmq_retention),
        )
        if problems:
            raise ConfigError(problems)
        return target

    def database_target(self) -> DatabaseTarget:
        """The database of these settings. Raises ConfigError."""
        problems: list[str] = []
        url = self.database_url
        target = self._database_in_url(url, problems) if url else self._database_in_parts(problems)
        if target.dialect != "sqlite":
            params, requested = _sorted_out(target, problems)
            tls = self._tls("db_tls", requested, problems)
            target = msgspec.structs.replace(target, params=params, tls=tls)
        if problems:
            raise ConfigError(problems)
        return target

    def _database_in_url(self, url: SecretStr, problems: list[str]) -> DatabaseTarget:
        target = parse_database_url(url.get_secret_value(), self.db_name or "")
        if self.db_type and _dialect(self.db_type) != target.dialect:
            problems.append(
                f"DB_TYPE: expected {target.dialect!r} as in DATABASE_URL, got {self.db_type!r}; remove one of them"
            )
        return target

    def _database_in_parts(self, problems: list[str]) -> DatabaseTarget:
        needed = ["db_type", "db_name"]
        if self.db_type not in {None, "sqlite"}:
            needed += ["db_host", "db_port", "db_user", "db_pass"]
        problems += [_missing(name.upper()) for name in needed if getattr(self, name) is None]
        dialect = _dialect(self.db_type or "postgres")
        several, directory = "," in (self.db_host or ""), (self.db_host or "").startswith("/")
        if (several and dialect != "mongo") or (directory and dialect != "postgres"):
            problems.append(f"DB_HOST: expected one host name or address for {dialect}, got {self.db_host!r}")
        literal = Login(user=self.db_user, password=_text(self.db_pass), name=self.db_name or "")
        first, *others = login_candidates(dialect, literal)
        return DatabaseTarget(
            dialect=dialect,
            name=first.name,
            host=self.db_host,
            port=self.db_port,
            user=first.user,
            password=first.password,
            alternates=tuple(others),
        )

    def _tls(
        self, name: Literal["db_tls", "redis_tls", "rabbitmq_tls"], requested: TlsRequest, problems: list[str]
    ) -> Tls | None:
        """The TLS of settings and URL together; a file in a setting replaces the URL's."""
        setting, url = name.upper(), _URL_OF[name]
        wanted: bool | None = getattr(self, name)
        verify: bool = getattr(self, f"{name}_verify")
        files: dict[str, str | None] = {part: getattr(self, f"{name}_{part}") for part in _TLS_FILES}
        if None not in (wanted, requested.tls) and wanted != requested.tls:
            got, other = str(wanted).lower(), str(requested.tls).lower()
            problems.append(f"{setting}: expected {other} as in {url}, got {got}; remove one of them")
        if requested.unverified and verify:
            problems.append(f"{url}: disables certificate verification; set {setting}_VERIFY=false to allow this")
        if not (requested.tls if wanted is None else wanted):
            given = [f"{setting}_{part.upper()}: requires" for part, path in files.items() if path]
            given += [f"{url}: a certificate file requires" for _ in requested.files][:1]
            problems.extend(f"{each} {setting}=true" for each in given)
            return None
        files = {part: path or requested.files.get(part) for part, path in files.items()}
        if files["key_file"] and not files["cert_file"]:
            problems.append(f"{setting}_KEY_FILE: requires {setting}_CERT_FILE")
        return Tls(verify=verify, **files)


def _missing(name: str) -> str:
    return f"{name}: expected {description(name).expected}, got nothing; set it, or DATABASE_URL"


def _text(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _sorted_out(target: DatabaseTarget, problems: list[str]) -> tuple[dict[str, str], TlsRequest]:
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
        parts |= _tls_parts("DB_TLS", _sorted_out(target, [])[1])
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


def _as_variable(name: str, value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(Path(str(value)).absolute() if name.endswith("_file") else value)


def _dialect(db_type: DbType) -> Dialect:
    return "mongo" if db_type == "mongo" else DIALECTS[db_type]
