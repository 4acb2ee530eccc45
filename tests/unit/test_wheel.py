"""The wheel, built and installed outside the checkout, contains all files that it needs at run time."""

import os
import re
import sqlite3
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "peekaping_producer"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", directory, cwd=ROOT)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a virtual environment with the wheel; its dependencies are those of this environment."""
    home = tmp_path_factory.mktemp("elsewhere")
    venv.create(home, symlinks=True, with_pip=False)
    uv = Path(sys.executable).parent / "uv"
    run(
        uv,
        "pip",
        "install",
        "--no-cache",
        "--no-deps",
        "--no-index",
        "--python",
        home / "bin" / "python",
        wheel,
        cwd=home,
    )
    # The path in a .pth file comes after the wheel, and .pth files in that path (of the checkout) are not read.
    (site_packages,) = home.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def run(*argv: str | Path, cwd: Path, **settings: str) -> str:
    """The output of a program that gets only PATH of this environment."""
    environment = {"PATH": os.environ["PATH"], **settings}
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def data_files(*suffixes: str) -> set[str]:
    """The paths in the wheel of the tree's files with these suffixes."""
    migrations = {f"{PACKAGE}/{path.relative_to(ROOT)}" for path in (ROOT / "migrations").rglob("*.*")}
    others = {path for path in (ROOT / PACKAGE).rglob("*") if path.suffix in suffixes}
    for folder in ("template/project", "ui/static"):
        others |= {path for path in (ROOT / PACKAGE / folder).rglob("*") if path.is_file()}
    unpacked = {str(path.relative_to(ROOT)) for path in others if not re.search(r"__pycache__|_cache/", str(path))}
    return migrations | unpacked


def test_the_wheel_contains_every_migration_and_script(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    expected = data_files(".lua", ".py", ".typed")
    kinds = {Path(name).suffix for name in expected if "/template/" not in name and "/static/" not in name}
    assert kinds == {".sql", ".json", ".lua", ".py", ".typed"}
    assert f"{PACKAGE}/template/project/.dockerignore" in expected
    assert f"{PACKAGE}/py.typed" in names
    assert {name for name in names if name.startswith(PACKAGE + "/")} == expected
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_installed_package_is_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    """Otherwise the next test would prove nothing."""
    origin = run(installed / "python", "-c", f"import {PACKAGE}, redis; print({PACKAGE}.__file__)", cwd=tmp_path)
    assert Path(origin.strip()).is_relative_to(installed.parent)


def test_the_template_is_written_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    run(installed / "peekaping-producer", "template", "new", "service", cwd=tmp_path)
    names = {path.name for path in tmp_path.rglob("*")}
    assert {"Dockerfile", ".dockerignore", ".gitignore", "main.py", "meta.pyi"} <= names


def test_migrate_runs_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    database = tmp_path / "monitors.sqlite"
    for _ in ("makes the tables", "finds nothing to do"):
        run(installed / "peekaping-producer", "migrate", cwd=tmp_path, DB_TYPE="sqlite", DB_NAME=str(database))
    with sqlite3.connect(database) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert {"monitors", "proxies", "maintenances", "monitor_maintenances", "heartbeats"} <= tables
