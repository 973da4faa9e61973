"""The commands as a user meets them: errors without a traceback."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.evaluation.cli import app


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["evaluate", "models/none", "--data", "x.csv"], "no bundle.json and no recipe.json in models/none"),
        (["evaluate", "models/none", "--split", "all"], "'all' is not one of"),
        (["compare", "runs/a"], "at least two"),
        (["compare", "runs/a", "runs/b"], "no bundle.json and no recipe.json in runs/a"),
        (["sanity", "runs/a", "runs/b", "--data", "x.csv", "--out", "y"], "two runs"),
    ],
)
def test_mistakes_end_with_a_message_and_no_traceback(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code in (1, 2)
    assert expected in " ".join(result.output.replace("│", " ").split())
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []
