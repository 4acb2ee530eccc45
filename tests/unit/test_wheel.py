"""The wheel, built and installed where there is no checkout: nothing that it needs at run time is left behind."""

import os
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
    """The bin directory of a virtual environment with the wheel in it; the dependencies are this environment's own."""
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
    # A path in a .pth file comes after the wheel, and .pth files in it, which name the checkout, do not count.
    (site_packages,) = home.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def run(*argv: str | Path, cwd: Path, **settings: str) -> str:
    """What the program printed; of this process's environment it has only PATH."""
    environment = {"PATH": os.environ["PATH"], **settings}
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def data_files(*suffixes: str) -> set[str]:
    """Where the files of the tree with these suffixes belong in the wheel."""
    migrations = {f"{PACKAGE}/{path.relative_to(ROOT)}" for path in (ROOT / "migrations").rglob("*.*")}
    others = {str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).rglob("*") if path.suffix in suffixes}
    return migrations | others


def test_the_wheel_holds_every_migration_and_script(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    expected = data_files(".lua", ".py", ".typed")
    kinds = {Path(name).suffix for name in expected}
    assert kinds == {".sql", ".json", ".lua", ".py", ".typed"}
    assert f"{PACKAGE}/py.typed" in names
    assert {name for name in names if name.startswith(PACKAGE + "/")} == expected
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_installed_package_is_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    """Otherwise the next test would prove nothing."""
    origin = run(installed / "python", "-c", f"import {PACKAGE}, redis; print({PACKAGE}.__file__)", cwd=tmp_path)
    assert Path(origin.strip()).is_relative_to(installed.parent)


def test_migrate_runs_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    database = tmp_path / "monitors.sqlite"
    for _ in ("makes the tables", "finds nothing to do"):
        run(installed / "peekaping-producer", "migrate", cwd=tmp_path, DB_TYPE="sqlite", DB_NAME=str(database))
    with sqlite3.connect(database) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert {"monitors", "proxies", "maintenances", "monitor_maintenances", "heartbeats"} <= tables
