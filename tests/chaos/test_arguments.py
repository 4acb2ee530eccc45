"""What the command line of `make chaos` refuses."""

from pathlib import Path

import pytest

from tests.chaos.__main__ import _arguments


def test_the_history_of_an_earlier_run_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["chaos", "--keep", str(tmp_path)])
    assert _arguments().keep == tmp_path
    (tmp_path / "history.jsonl").write_text("precious")
    with pytest.raises(SystemExit, match="2"):
        _arguments()
    assert f"--keep: expected a folder without history.jsonl, got {tmp_path}" in capsys.readouterr().err
