"""What a URL says after its question mark: TLS, what is passed on to the store, and what means nothing here.

Names are compared without case, `-` and `_`, since every client writes them in its own way.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from peekaping_producer.settings.types import readable_file

Kind = Literal["postgres", "mysql", "mongo", "redis"]

_OFF, _ON, _ANY, _UNVERIFIED = "off", "on", "any", "unverified"
"""No TLS; TLS; TLS with whoever answers; whoever answers, if there is TLS."""
_BOOLS = {"false": _OFF, "true": _ON, "0": _OFF, "1": _ON}
_VERIFY = {"false": _UNVERIFIED, "true": "", "0": _UNVERIFIED, "1": ""}
_TRUST = {"false": "", "true": _UNVERIFIED, "0": "", "1": _UNVERIFIED}
_POSTGRES_MODES = {"disable": _OFF, "require": _ON, "verify-ca": _ON, "verify-full": _ON}
_MYSQL_MODES = {"disabled": _OFF, "required": _ON, "verify_ca": _ON, "verify_identity": _ON}
_TLS: dict[Kind, dict[str, dict[str, str]]] = {
    "postgres": {
        "sslmode": _POSTGRES_MODES | {"no-verify": _ANY},
        "ssl": _BOOLS,
        "channelbinding": {"disable": "", "prefer": "", "require": _ON},
    },
    "mysql": {
        "sslmode": _MYSQL_MODES | _POSTGRES_MODES,
        "ssl": _BOOLS | {'{"rejectUnauthorized":true}': _ON, '{"rejectUnauthorized":false}': _ANY},
        "tls": _BOOLS | {"skip-verify": _ANY},
        "usessl": _BOOLS,
        "requiressl": {"false": "", "true": _ON},
        "verifyservercertificate": _VERIFY,
        "sslaccept": {"strict": _ON, "accept_invalid_certs": _ANY},
    },
    "mongo": {
        "tls": _BOOLS,
        "ssl": _BOOLS,
        "tlsinsecure": _TRUST,
        "tlsallowinvalidcertificates": _TRUST,
        "tlsallowinvalidhostnames": _TRUST,
    },
    "redis": {
        "tls": _BOOLS,
        "ssl": _BOOLS,
        "sslcertreqs": {"required": "", "cert_required": "", "none": _UNVERIFIED, "cert_none": _UNVERIFIED},
        "sslcheckhostname": _VERIFY,
        "skipverify": _TRUST,
    },
}
"""By name and value in lower case: what it asks for."""

_FILES: dict[Kind, dict[str, str]] = {
    "postgres": {"sslrootcert": "ca_file", "sslcert": "cert_file", "sslkey": "key_file"},
    "mysql": {"sslca": "ca_file", "sslcert": "cert_file", "sslkey": "key_file"},
    "mongo": {"tlscafile": "ca_file", "tlscertificatekeyfile": "cert_file"},
    "redis": {"sslcacerts": "ca_file", "sslcertfile": "cert_file", "sslkeyfile": "key_file"},
}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MEANINGLESS: dict[Kind, frozenset[str]] = {
    "postgres": _names(
        """
        connecttimeout connectiontimeout logintimeout sockettimeout statementtimeout pooltimeout tcpusertimeout
        keepalives keepalivesidle keepalivesinterval keepalivescount tcpkeepalive fallbackapplicationname pgbouncer
        connectionlimit poolmode supa uselibpqcompat preparethreshold preparedstatements binaryparameters
        preparedstatementcachesize statementcachesize statementcachecapacity prefersimpleprotocol
        defaultqueryexecmode rewritebatchedinserts clientencoding gssencmode sslcompression sslsni loadbalancehosts
        """
    ),
    "mysql": _names(
        """
        charset collation characterencoding useunicode parsetime loc servertimezone multistatements
        interpolateparams allowpublickeyretrieval allownativepasswords allowmultiqueries autoreconnect
        connecttimeout connectiontimeout sockettimeout timeout readtimeout writetimeout pooltimeout connectionlimit
        maxallowedpacket checkconnliveness clientfoundrows cacheprepstmts useservercursors userserverprepstmts
        useserverprepstmts rewritebatchedstatements zerodatetimebehavior
        """
    ),
    "mongo": _names(
        """
        retrywrites w j journal wtimeout wtimeoutms appname compressors zlibcompressionlevel maxpoolsize minpoolsize
        maxidletimems maxconnecting waitqueuetimeoutms waitqueuemultiple connecttimeoutms sockettimeoutms timeoutms
        serverselectiontimeoutms serverselectiontryonce heartbeatfrequencyms localthresholdms readconcernlevel
        uuidrepresentation servermonitoringmode
        """
    ),
    "redis": _names(
        """
        sockettimeout socketconnecttimeout socketkeepalive timeout connecttimeout dialtimeout readtimeout
        writetimeout commandtimeout pooltimeout poolsize poolfifo minidleconns maxidleconns maxactiveconns
        maxconnections connectionlimit connectionpoolsize connmaxidletime connmaxlifetime idletimeout maxretries
        minretrybackoff maxretrybackoff maxretriesperrequest retryontimeout retrystrategy healthcheckinterval
        clientname protocol resp family encoding encodingerrors decoderesponses enablereadycheck enableofflinequeue
        lazyconnect keepalive
        """
    ),
}
"""What only tunes another client: timeouts, pools, writes, encodings. The limits here are this program's own."""


_DEFAULTS: dict[Kind, dict[str, frozenset[str]]] = {
    "postgres": dict.fromkeys(("schema", "currentschema", "searchpath"), _names("public"))
    | {"targetsessionattrs": _names("any read-write primary prefer-standby")},  # there is one host to choose from
}
"""What asks for no more than what is so anyway."""


class _NodeTls(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """TLS as mysql2 for Node.js takes it, in JSON. Older versions than 1.2 are never spoken here."""

    reject_unauthorized: bool = True
    min_version: Literal["TLSv1", "TLSv1.1", "TLSv1.2"] = "TLSv1.2"


class Asked(msgspec.Struct, frozen=True):
    """What a URL asks for: TLS, None where it does not say; no verification of the server; files by their part."""

    tls: bool | None = None
    unverified: bool = False
    files: dict[str, str] = {}


def sort_out(kind: Kind, params: Mapping[str, str], problems: list[str]) -> tuple[dict[str, str], Asked]:
    """The parameters that are for the store, and what the others say about TLS. What is of no use is a problem.

    Postgres' prefer and allow, and MySQL's preferred, are refused: with them the server, or who poses as it, decides.
    """
    setting = "REDIS_URL" if kind == "redis" else "DATABASE_URL"
    kept: dict[str, str] = {}
    said: dict[str, str] = {}
    files: dict[str, str] = {}
    for name, value in params.items():
        key = name.lower().replace("-", "").replace("_", "")
        if key in _TLS[kind]:
            modes = _TLS[kind][key]
            said[name] = (
                _mode_of_object(value) if (kind, key, value[:1]) == ("mysql", "ssl", "{") else _mode(modes, value)
            )
            if said[name] == "?":
                problems.append(f"{setting}: got a value of {name} that is not taken, takes {', '.join(modes)}")
        elif key in _FILES[kind]:
            part = _FILES[kind][key]
            try:
                files |= {part: readable_file(value)} if value != "system" else {}  # libpq's word for the default
            except ValueError as error:
                problems.append(f"{setting}: got a path in {name}, takes that of a readable file ({error})")
        elif key not in _MEANINGLESS[kind] and value not in _DEFAULTS.get(kind, {}).get(key, ()):
            kept[name] = value
    asking = {name: mode for name, mode in said.items() if mode in {_OFF, _ON, _ANY}}
    if _OFF in asking.values() and set(asking.values()) != {_OFF}:
        problems.append(f"{setting}: got {' and '.join(asking)} that contradict each other, takes one of them")
    tls = _OFF not in asking.values() if asking else None
    return kept, Asked(tls=tls, unverified=not {_ANY, _UNVERIFIED}.isdisjoint(said.values()), files=files)


def _mode(modes: Mapping[str, str], value: str) -> str:
    """What a value asks for; "?" for one that is not taken."""
    return modes.get(value.lower().replace(" ", ""), "?")


def _mode_of_object(value: str) -> str:
    """The same for `ssl={...}`."""
    try:
        return _ON if msgspec.json.decode(value, type=_NodeTls).reject_unauthorized else _ANY
    except msgspec.DecodeError:
        return "?"
