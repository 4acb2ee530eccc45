"""The servers that settings describe, in single settings or in a URL."""

from urllib.parse import urlsplit

import msgspec
from pydantic import SecretStr

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings.fields import Fields, description
from peekaping_producer.settings.logins import login_candidates
from peekaping_producer.settings.parameters import TlsRequest
from peekaping_producer.settings.sentinels import from_parts, with_password
from peekaping_producer.settings.tls import tls_of
from peekaping_producer.settings.types import DbType, secret_text
from peekaping_producer.settings.url_parts import sorted_out
from peekaping_producer.settings.urls import DIALECTS, parse_database_url, parse_rabbitmq_url, parse_redis_url
from peekaping_producer.targets import (
    DatabaseTarget,
    Dialect,
    HttpTarget,
    Login,
    RabbitMqTarget,
    RedisTarget,
    url_below,
)


def redis_target(settings: Fields, problems: list[str]) -> RedisTarget:
    """The Redis server of the settings. Adds contradictions to `problems`."""
    requested = TlsRequest()
    if settings.redis_url:
        target, requested = parse_redis_url(settings.redis_url.get_secret_value(), problems)
    else:
        target = RedisTarget(
            host=settings.redis_host,
            port=settings.redis_port,
            sentinels=from_parts(settings.redis_sentinels, settings.redis_sentinel_master, problems),
            db=settings.redis_db,
            username=settings.redis_username,
            password=secret_text(settings.redis_password),
        )
    sentinels = target.sentinels
    if sentinels or not settings.redis_sentinels:  # otherwise their problem is known
        sentinels = with_password(sentinels, secret_text(settings.redis_sentinel_password), problems)
    return msgspec.structs.replace(target, sentinels=sentinels, tls=tls_of(settings, "redis_tls", requested, problems))


def database_target(settings: Fields, problems: list[str]) -> DatabaseTarget:
    """The database of the settings. Adds contradictions to `problems`."""
    url = settings.database_url
    target = _database_in_url(settings, url, problems) if url else _database_in_parts(settings, problems)
    if target.dialect != "sqlite":
        params, requested = sorted_out(target, problems)
        tls = tls_of(settings, "db_tls", requested, problems)
        target = msgspec.structs.replace(target, params=params, tls=tls)
    return target


def _database_in_url(settings: Fields, url: SecretStr, problems: list[str]) -> DatabaseTarget:
    target = parse_database_url(url.get_secret_value(), settings.db_name or "")
    if settings.db_type and _dialect(settings.db_type) != target.dialect:
        problems.append(
            f"DB_TYPE: expected {target.dialect!r} as in DATABASE_URL, got {settings.db_type!r}; remove one of them"
        )
    return target


def _database_in_parts(settings: Fields, problems: list[str]) -> DatabaseTarget:
    needed = ["db_type", "db_name"]
    if settings.db_type not in {None, "sqlite"}:
        needed += ["db_host", "db_port", "db_user", "db_pass"]
    problems += [_missing(name.upper()) for name in needed if getattr(settings, name) is None]
    dialect = _dialect(settings.db_type or "postgres")
    several, directory = "," in (settings.db_host or ""), (settings.db_host or "").startswith("/")
    if (several and dialect != "mongo") or (directory and dialect != "postgres"):
        problems.append(f"DB_HOST: expected one host name or address for {dialect}, got {settings.db_host!r}")
    literal = Login(user=settings.db_user, password=secret_text(settings.db_pass), name=settings.db_name or "")
    first, *others = login_candidates(dialect, literal)
    return DatabaseTarget(
        dialect=dialect,
        name=first.name,
        host=settings.db_host,
        port=settings.db_port,
        user=first.user,
        password=first.password,
        alternates=tuple(others),
    )


def _missing(name: str) -> str:
    return f"{name}: expected {description(name).expected}, got nothing; set it, or DATABASE_URL"


def _dialect(db_type: DbType) -> Dialect:
    return "mongo" if db_type == "mongo" else DIALECTS[db_type]


def rabbitmq_target(settings: Fields, problems: list[str]) -> RabbitMqTarget:
    """The RabbitMQ server and queue of the settings. Adds contradictions to `problems`."""
    requested = TlsRequest()
    if settings.rabbitmq_url:
        target, requested = parse_rabbitmq_url(settings.rabbitmq_url.get_secret_value(), problems)
    else:
        target = RabbitMqTarget(
            host=settings.rabbitmq_host,
            port=settings.rabbitmq_port,
            user=settings.rabbitmq_user,
            password=secret_text(settings.rabbitmq_pass) or "password",
            vhost=settings.rabbitmq_vhost,
        )
    return msgspec.structs.replace(
        target,
        tls=tls_of(settings, "rabbitmq_tls", requested, problems),
        heartbeat_s=settings.rabbitmq_heartbeat,
        queue=settings.rabbitmq_queue,
        queue_type=settings.rabbitmq_queue_type,
        blocked_timeout_s=settings.rabbitmq_blocked_timeout,
        retention_days=None if settings.rabbitmq_retention == "off" else int(settings.rabbitmq_retention),
    )


def http_target(settings: Fields) -> HttpTarget:
    """The HTTP endpoint of the settings. Raises ConfigError."""
    url = secret_text(settings.http_url)
    if url is None:
        raise ConfigError([f"HTTP_URL: expected {description('HTTP_URL').expected}, got nothing"])
    if settings.http_token and "@" in urlsplit(url).netloc:
        raise ConfigError(["HTTP_TOKEN: expected no user in HTTP_URL, got both; remove one of them"])
    return HttpTarget(
        url=url,
        token=secret_text(settings.http_token),
        success=frozenset({settings.http_success} if settings.http_success else range(200, 300)),
        attempts=settings.http_attempts,
        retry_delay_s=settings.http_retry_delay,
        timeout_s=settings.http_timeout,
        in_flight=settings.http_in_flight,
    )


def api_target(settings: Fields) -> HttpTarget:
    """The endpoint of `send`."""
    return HttpTarget(
        url=url_below(settings.api_url.get_secret_value(), "/api/messages"),
        user_agent=settings.send_user_agent,
        success=frozenset({201}),
        attempts=settings.send_attempts,
        retry_delay_s=settings.send_retry_delay,
        timeout_s=settings.send_timeout,
    )
