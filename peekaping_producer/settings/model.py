"""The settings of one process, and what follows from them: targets and secrets."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

import msgspec
from pydantic import PrivateAttr, SecretStr, ValidationInfo, field_validator

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings.fields import Fields, description
from peekaping_producer.settings.groups import SettingsGroup, group_names
from peekaping_producer.settings.logins import login_candidates, passwords
from peekaping_producer.settings.parameters import TlsRequest
from peekaping_producer.settings.sentinels import from_parts, with_password
from peekaping_producer.settings.texts import has_forbidden_characters
from peekaping_producer.settings.tls import tls_of
from peekaping_producer.settings.types import DbType, WebUrl, listening_address
from peekaping_producer.settings.ui_access import UiAccess, ui_access
from peekaping_producer.settings.url_parts import parts_of_urls, sorted_out
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
    secrets_in_url,
    url_below,
)


class Settings(Fields, frozen=True, extra="forbid", hide_input_in_errors=True):
    """All settings, their origins, and what is wrong with them. None is a setting without a value.

    The methods that return targets and `ui_access` check whether settings fit together, and raise ConfigError.
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
    def _urls(self) -> dict[str, str]:
        """The URLs of servers that are set, by name."""
        urls = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url, "RABBITMQ_URL": self.rabbitmq_url}
        return {name: url.get_secret_value() for name, url in urls.items() if url}

    @property
    def in_urls(self) -> dict[str, tuple[object, str]]:
        """By the names of the parts (DB_HOST) that a URL replaces: the value in the URL, and the URL's name."""
        return parts_of_urls(self._urls)

    def as_environment(self, group: SettingsGroup) -> dict[str, str]:
        """The given settings of a group as variables for a process in another working directory."""
        names = {name for name in self.model_fields_set if name.upper() in group_names(group)}
        return {name.upper(): _as_variable(name, value) for name, value in self if name in names}

    @property
    def uses_asynq(self) -> bool:
        """Whether tasks are enqueued in asynq's queue."""
        return self.broker in {None, "asynq"}

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """(host, port) of probes and metrics; None if they are off."""
        return listening_address(self.metrics_addr)

    @property
    def ui_address(self) -> tuple[str, int] | None:
        """(host, port) of the page; None if it is off."""
        return listening_address(self.ui_addr)

    @property
    def ui_addr_explicit(self) -> bool:
        """Whether UI_ADDR is set; its port must then be free."""
        return "ui_addr" in self.model_fields_set

    def ui_access(self) -> UiAccess:
        """Who may see the page, and who may act. Raises ConfigError."""
        problems: list[str] = []
        access = ui_access(self, problems)
        if problems:
            raise ConfigError(problems)
        return access

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
        for name, url in self._urls.items():
            texts += passwords_in(name, url)
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
        target = msgspec.structs.replace(
            target, sentinels=sentinels, tls=tls_of(self, "redis_tls", requested, problems)
        )
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
            tls=tls_of(self, "rabbitmq_tls", requested, problems),
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
            params, requested = sorted_out(target, problems)
            tls = tls_of(self, "db_tls", requested, problems)
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


def _missing(name: str) -> str:
    return f"{name}: expected {description(name).expected}, got nothing; set it, or DATABASE_URL"


def _text(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _as_variable(name: str, value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(Path(str(value)).absolute() if name.endswith("_file") else value)


def _dialect(db_type: DbType) -> Dialect:
    return "mongo" if db_type == "mongo" else DIALECTS[db_type]
