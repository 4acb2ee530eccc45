"""The client of MongoDB's driver for a target: its parameters, and its TLS files.

The driver is motor, which is deprecated: critical fixes end in May 2027. PyMongo's own asyncio client has the same
methods, so that a move changes only the constructor here, and the call of aggregate() (to be awaited) and close() in
mongo_client.py. Motor stays while Python 3.11 is supported, where PyMongo's client can lose a cancellation.
"""

import logging
import warnings
from typing import Any
from urllib.parse import quote_plus

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import common
from pymongo.errors import ConfigurationError

from peekaping_producer.errors import ConfigError
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.tls import database_ssl_context
from peekaping_producer.targets import DatabaseTarget, host_port_text

# The driver logs each command and its reply at debug, with passwords of proxies in them.
logging.getLogger("pymongo").setLevel(logging.WARNING)
# The driver prints an advertisement to stderr for hosts of Azure Cosmos DB and Amazon DocumentDB.
warnings.filterwarnings("ignore", r"You appear to be connected to a (CosmosDB|DocumentDB) cluster", UserWarning)

_PARAMS = {
    name.lower(): name
    for name in (
        *("authSource", "authMechanism", "replicaSet", "readPreference", "readPreferenceTags", "maxStalenessSeconds"),
        *("directConnection", "retryReads"),
    )
}
_MECHANISMS = {"DEFAULT", "SCRAM-SHA-1", "SCRAM-SHA-256"}
_MAX_IDLE_MS = 45_000
"""After which an idle connection is replaced: a firewall may drop it silently."""


def driver_client(target: DatabaseTarget, size: int, limits: Limits, addresses: int) -> Any:
    """Return a client of at most `size` connections; it connects to nothing yet.

    `addresses` is the number that a host may have: the driver tries each of them for its share of the time. Raises
    ConfigError for parameters, and for files, that cannot be used.
    """
    params = _checked_params(target)
    selection_ms = milliseconds(limits.acquire_s)
    # One connection finds the server and another is used: addresses that do not answer cost their time twice.
    longest = min(selection_ms, milliseconds(limits.command_s / 2))
    share = selection_ms if addresses == 1 else longest // addresses
    if target.port is None:
        hosts: str | list[str] = f"mongodb+srv://{quote_plus(target.host or '')}/"
    else:
        hosts = host_port_text(target.host, target.port).split(",")
    try:
        return AsyncIOMotorClient(
            hosts,
            username=target.user or None,
            password=target.password or None,
            maxPoolSize=size,
            minPoolSize=0,
            serverSelectionTimeoutMS=selection_ms,
            connectTimeoutMS=share,
            maxIdleTimeMS=_MAX_IDLE_MS,
            socketTimeoutMS=milliseconds(limits.command_s + limits.answer_s),
            appname="peekaping-producer",
            **params,
            **_tls_options(target),
        )
    except (ConfigurationError, ValueError, TypeError, OSError):
        given = ", ".join(sorted(params)) or "none"
        raise ConfigError([f"DATABASE_URL: the driver rejects this combination of parameters: {given}"]) from None


def milliseconds(seconds: float) -> int:
    """At least 1: 0 would mean no limit."""
    return max(1, int(seconds * 1000))


def _checked_params(target: DatabaseTarget) -> dict[str, Any]:
    problems, params = [], {}
    for given, value in target.params.items():
        name = _PARAMS.get(given.lower())
        if name is None:
            known = ", ".join(sorted(_PARAMS.values()))
            instead = "; set DB_TLS for TLS" if given.lower().startswith(("tls", "ssl")) else ""
            problems.append(f"DATABASE_URL: expected tls, {known}, got {given}=...{instead}")
            continue
        try:
            common.validate(name.lower(), value)
            params[name] = value  # the client validates again, and rejects validated tags
            if name == "authMechanism" and value not in _MECHANISMS:
                raise ValueError
        except (ConfigurationError, ValueError, TypeError):
            problems.append(f"DATABASE_URL: unsupported value of {name}")
    if bool(target.user) != bool(target.password):
        problems.append("DATABASE_URL: expected both user and password, or neither, got one of them")
    if problems:
        raise ConfigError(problems)
    return params


def _tls_options(target: DatabaseTarget) -> dict[str, Any]:
    """The driver reads certificate files itself; one must contain both certificate and key."""
    tls = target.tls
    if tls is None:
        return {"tls": False}
    if tls.key_file and tls.key_file != tls.cert_file:
        raise ConfigError(
            ["DB_TLS_KEY_FILE: unsupported for MongoDB; write certificate and key into the file of DB_TLS_CERT_FILE"]
        )
    database_ssl_context(tls)  # raises for a file that cannot be used
    options = {
        "tls": True,
        "tlsAllowInvalidCertificates": not tls.verify,
        "tlsAllowInvalidHostnames": not tls.verify,
        "tlsCAFile": tls.ca_file,
        "tlsCertificateKeyFile": tls.cert_file,
    }
    return {name: value for name, value in options.items() if value is not None}
