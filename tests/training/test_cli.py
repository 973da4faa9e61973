"""The commands as a user meets them: help that teaches, errors without a traceback."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.cli import app


@pytest.mark.parametrize("command", [["data", "prepare"], ["train"], ["export"], ["evaluate"]])
def test_help_shows_an_example(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert f"hal {' '.join(command)}" in result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data", "prepare", "--preset", "pbc=nowhere", "--out", "x.csv"], "does not exist"),
        (["train", "hal-x", "--run", "runs/x", "--data", "x.csv"], "no recipe 'hal-x'"),
        (["train", "hal-c3003", "--run", "runs/x"], "needs --data"),
        (["train", "hal-c3003", "--run", "runs/x", "--data", "none.csv"], "cannot be read"),
        (["train", "hal-c3003", "--run", "runs/x", "--resume"], "not the folder of a run"),
        (["export", "runs/x", "--out", "y"], "not the folder of a run"),
        (["evaluate", "models/none", "--data", "x.csv"], "no bundle.json"),
    ],
)
def test_mistakes_end_with_a_message_and_exit_code_1(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert expected in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []
