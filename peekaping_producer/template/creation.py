"""Writes the project of the template to a folder."""

import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from peekaping_producer.errors import TemplateError

_CACHES = {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
_SHOWN = 3


def create_project(folder: Path) -> None:
    """Write the project to a folder that is new or empty. Raises TemplateError, and then leaves nothing behind."""
    _refuse_unless_empty(folder)
    made = _first_missing(folder)
    values = {"PROJECT_NAME": project_name(folder), "PEEKAPING_PRODUCER_VERSION": version("peekaping-producer")}
    try:
        _copy(files(__package__) / "project", folder, values)
    except OSError as error:
        _remove(made, folder)
        raise TemplateError(
            f"DIR: expected a folder that can be written, got {str(folder)!r} ({error.strerror}); choose another folder"
        ) from None


def project_name(folder: Path) -> str:
    """Return a name for the project and its image, of lower-case ASCII letters, digits and hyphens."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")
    return name or "service"


def _refuse_unless_empty(folder: Path) -> None:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise TemplateError(
            f"DIR: expected a new or an empty folder, got {str(folder)!r} ({error.strerror}); choose another folder"
        ) from None
    if names:
        shown = ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
        raise TemplateError(
            f"DIR: expected a new or an empty folder, got {str(folder)!r} with {shown} in it; choose another folder"
        )


def _first_missing(folder: Path) -> Path | None:
    """The topmost folder that has to be made."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    return missing[-1] if missing else None


def _copy(source: Traversable, target: Path, values: Mapping[str, str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for item in source.iterdir():
        if item.is_dir():
            if item.name not in _CACHES:
                _copy(item, target / item.name, values)
        else:
            text = item.read_text(encoding="utf-8")
            for placeholder, value in values.items():
                text = text.replace(placeholder, value)
            (target / item.name).write_text(text, encoding="utf-8")


def _remove(made: Path | None, folder: Path) -> None:
    """Remove what was written: the folders that were made, or the content of a folder that was empty."""
    if made:
        shutil.rmtree(made, ignore_errors=True)
        return
    with suppress(OSError):
        for path in folder.iterdir():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
