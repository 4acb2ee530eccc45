"""The parameters of a URL: those about TLS, those for the store, and those that only other clients use.

Names are compared without case, `-` and `_`, since clients write them differently.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from peekaping_producer.settings.types import readable_file

Kind = Literal["postgres", "mysql", "mongo", "redis", "rabbitmq"]
_Parameter = tuple[str, str, str]
"""The name as written, the name as compared, and the value."""

_OFF, _ON, _ON_UNVERIFIED, _UNVERIFIED = "off", "on", "any", "unverified"
"""No TLS; TLS; TLS without verification; no verification if TLS is on."""
_BOOLS = {"false": _OFF, "true": _ON, "0": _OFF, "1": _ON}
_VERIFY = {"false": _UNVERIFIED, "true": "", "0": _UNVERIFIED, "1": ""}
_TRUST = {"false": "", "true": _UNVERIFIED, "0": "", "1": _UNVERIFIED}
_POSTGRES_MODES = {"disable": _OFF, "require": _ON, "verify-ca": _ON, "verify-full": _ON}
_MYSQL_MODES = {"disabled": _OFF, "required": _ON, "verify_ca": _ON, "verify_identity": _ON}
_TLS: dict[Kind, dict[str, dict[str, str]]] = {
    "postgres": {
        "sslmode": _POSTGRES_MODES | {"no-verify": _ON_UNVERIFIED},
        "ssl": _BOOLS,
        "channelbinding": {"disable": "", "prefer": "", "require": _ON},
    },
    "mysql": {
        "sslmode": _MYSQL_MODES | _POSTGRES_MODES,
        "ssl": _BOOLS | {'{"rejectUnauthorized":true}': _ON, '{"rejectUnauthorized":false}': _ON_UNVERIFIED},
        "tls": _BOOLS | {"skip-verify": _ON_UNVERIFIED},
        "usessl": _BOOLS,
        "requiressl": {"false": "", "true": _ON},
        "verifyservercertificate": _VERIFY,
        "sslaccept": {"strict": _ON, "accept_invalid_certs": _ON_UNVERIFIED},
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
    "rabbitmq": {"verify": {"verify_peer": "", "verify_none": _UNVERIFIED}, "noverifyssl": _TRUST},
}
"""The mode that a parameter requests, by its name and value in lower case."""

_FILES: dict[Kind, dict[str, str]] = {
    "postgres": {"sslrootcert": "ca_file", "sslcert": "cert_file", "sslkey": "key_file"},
    "mysql": {"sslca": "ca_file", "sslcert": "cert_file", "sslkey": "key_file"},
    "mongo": {"tlscafile": "ca_file", "tlscertificatekeyfile": "cert_file"},
    "redis": {"sslcacerts": "ca_file", "sslcertfile": "cert_file", "sslkeyfile": "key_file"},
    "rabbitmq": {"cacertfile": "ca_file", "cafile": "ca_file", "certfile": "cert_file", "keyfile": "key_file"},
}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_IGNORED: dict[Kind, frozenset[str]] = {
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
    "rabbitmq": _names("connectiontimeout timeout channelmax framemax name connectionname socketoptions tcpoptions"),
}
"""Parameters that only tune other clients: timeouts, pools, writes, encodings. This program has its own limits."""
_DEFAULTS: dict[Kind, dict[str, frozenset[str]]] = {
    "postgres": dict.fromkeys(("schema", "currentschema", "searchpath"), _names("public"))
    | {"targetsessionattrs": _names("any read-write primary prefer-standby")},  # there is one host to choose from
}
"""Values that request the behavior of this program."""


class _NodeTls(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """TLS as mysql2 for Node.js accepts it, in JSON. The minimum here is TLS 1.2."""

    reject_unauthorized: bool = True
    min_version: Literal["TLSv1", "TLSv1.1", "TLSv1.2"] = "TLSv1.2"


class TlsRequest(msgspec.Struct, frozen=True):
    """What a URL requests: TLS (None: not given), no verification of the server, and files by their part."""

    tls: bool | None = None
    unverified: bool = False
    files: dict[str, str] = {}


def classify_parameters(
    kind: Kind, params: Mapping[str, str], problems: list[str]
) -> tuple[dict[str, str], TlsRequest]:
    """The parameters for the store, and what the others request about TLS. Adds invalid ones to `problems`."""
    setting = {"redis": "REDIS_URL", "rabbitmq": "RABBITMQ_URL"}.get(kind, "DATABASE_URL")
    named = [(name, name.lower().replace("-", "").replace("_", ""), value) for name, value in params.items()]
    modes = _modes(setting, kind, [parameter for parameter in named if parameter[1] in _TLS[kind]], problems)
    files = _files(setting, kind, [parameter for parameter in named if parameter[1] in _FILES[kind]], problems)
    known = _TLS[kind].keys() | _FILES[kind].keys() | _IGNORED[kind]
    defaults = _DEFAULTS.get(kind, {})
    kept = {name: value for name, key, value in named if key not in known and value not in defaults.get(key, ())}
    unverified = not {_ON_UNVERIFIED, _UNVERIFIED}.isdisjoint(modes.values())
    return kept, TlsRequest(tls=_switch(setting, modes, problems), unverified=unverified, files=files)


def _modes(setting: str, kind: Kind, named: Sequence[_Parameter], problems: list[str]) -> dict[str, str]:
    """The modes that parameters request, by their names.

    Postgres' prefer and allow, and MySQL's preferred, are refused: an attacker could disable TLS.
    """
    modes: dict[str, str] = {}
    for name, key, value in named:
        accepted = _TLS[kind][key]
        is_object = (kind, key, value[:1]) == ("mysql", "ssl", "{")
        modes[name] = _mode_of_object(value) if is_object else accepted.get(value.lower().replace(" ", ""), "?")
        if modes[name] == "?":
            problems.append(f"{setting}: unsupported {name}; expected one of {', '.join(accepted)}")
    return modes


def _files(setting: str, kind: Kind, named: Sequence[_Parameter], problems: list[str]) -> dict[str, str]:
    """The certificate files that parameters name, by their part."""
    files: dict[str, str] = {}
    for name, key, value in named:
        try:
            files |= {_FILES[kind][key]: readable_file(value)} if value != "system" else {}  # libpq's default
        except ValueError as error:
            problems.append(f"{setting}: expected the path of a readable file in {name} ({error})")
    return files


def _switch(setting: str, modes: Mapping[str, str], problems: list[str]) -> bool | None:
    """Whether the modes request TLS; None if they request nothing."""
    switches = {name: mode for name, mode in modes.items() if mode in {_OFF, _ON, _ON_UNVERIFIED}}
    if _OFF in switches.values() and set(switches.values()) != {_OFF}:
        problems.append(f"{setting}: {' and '.join(switches)} contradict each other; remove one of them")
    return _OFF not in switches.values() if switches else None


def _mode_of_object(value: str) -> str:
    """The mode that `ssl={...}` requests; "?" for an unsupported one."""
    try:
        return _ON if msgspec.json.decode(value, type=_NodeTls).reject_unauthorized else _ON_UNVERIFIED
    except msgspec.DecodeError:
        return "?"
