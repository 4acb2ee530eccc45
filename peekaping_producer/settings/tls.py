"""The TLS of a server: what the settings and the URL request together."""

from typing import Literal

from peekaping_producer.settings.fields import Fields
from peekaping_producer.settings.parameters import TlsRequest
from peekaping_producer.targets import Tls

_URL_OF = {"db_tls": "DATABASE_URL", "redis_tls": "REDIS_URL", "rabbitmq_tls": "RABBITMQ_URL"}
_FILES = ("ca_file", "cert_file", "key_file")


def tls_of(
    settings: Fields, name: Literal["db_tls", "redis_tls", "rabbitmq_tls"], requested: TlsRequest, problems: list[str]
) -> Tls | None:
    """The TLS of one server; a file in a setting replaces the URL's. Adds contradictions to `problems`."""
    setting, url = name.upper(), _URL_OF[name]
    wanted: bool | None = getattr(settings, name)
    verify: bool = getattr(settings, f"{name}_verify")
    files: dict[str, str | None] = {part: getattr(settings, f"{name}_{part}") for part in _FILES}
    if None not in (wanted, requested.tls) and wanted != requested.tls:
        got, other = str(wanted).lower(), str(requested.tls).lower()
        problems.append(f"{setting}: expected {other} as in {url}, got {got}; remove one of them")
    if requested.unverified and verify:
        problems.append(f"{url}: disables certificate verification; set {setting}_VERIFY=false to allow this")
    if not (requested.tls if wanted is None else wanted):
        given = [f"{setting}_{part.upper()}: requires" for part, path in files.items() if path]
        given += [f"{url}: a certificate file requires" for _ in requested.files][:1]
        problems.extend(f"{reason} {setting}=true" for reason in given)
        return None
    files = {part: path or requested.files.get(part) for part, path in files.items()}
    if files["key_file"] and not files["cert_file"]:
        problems.append(f"{setting}_KEY_FILE: requires {setting}_CERT_FILE")
    return Tls(verify=verify, **files)
