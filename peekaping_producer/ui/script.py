"""One script of several modules: the page needs one request for all, and they compress better together."""

import re
from pathlib import Path

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([a-z_]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:const|function|class) )", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
_COMMENT = re.compile(r"^ *(?://.*|/\*\*.*\*/)$|(?<=[;,{]) // .*$", re.MULTILINE)
_INDENT = re.compile(r"\n\s+")


def one_script(path: Path) -> str:
    """Return the module after those that it imports, without indentation and comments: on lines of their own,
    and behind a semicolon, comma or brace.

    Modules import by name, and share one scope: no two may use the same name at their top, and no text may have several
    lines. Raises ValueError if a module imports otherwise, or one that does not exist, or itself through others.
    """
    return "".join(_modules(path, {}, []).values())


def _modules(path: Path, read: dict[Path, str], importing: list[str]) -> dict[Path, str]:
    """Add the module and those that it imports to `read`; the imported ones come first."""
    importing = [*importing, path.name]
    if path.name in importing[:-1]:
        raise ValueError(f"{path.name}: expected no cycle of imports, got {' → '.join(importing)}")
    if not path.is_file():
        raise ValueError(f"{importing[-2]}: expected a module of {path.parent.name}, got {path.name!r}")
    text = path.read_text(encoding="utf-8")
    for found in _IMPORT.finditer(text):
        _modules(path.with_name(found[1]), read, importing)
    text = _EXPORT.sub("", _IMPORT.sub("", text))
    if other := _OTHER.search(text):
        raise ValueError(f"{path.name}: expected imports and exports by name, got {other[0]!r}")
    read.setdefault(path, _INDENT.sub("\n", "\n" + _COMMENT.sub("", text)).lstrip())
    return read
