"""The commands as a user meets them: help that teaches, errors without a traceback."""

import ast
import errno
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.paths import ROOT
from training.cli import app
from training.errors import explained


@pytest.mark.parametrize("command", [["data", "prepare"], ["train"], ["export"]])
def test_help_shows_an_example(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert f"hal {' '.join(command)}" in result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data", "prepare", "--preset", "pbc=nowhere", "--out", "x.csv"], "does not exist"),
        (["train", "hal-x", "--run", "runs/x", "--data", "x.csv"], "no recipe 'hal-x'"),
        (["train", "hal-c3003", "--run", "runs/x"], "needs a recipe, --data MANIFEST and --run FOLDER"),
        (["train", "hal-c3003", "--run", "runs/x", "--data", "none.csv"], "there is no manifest none.csv"),
        (["train", "--resume", "runs/x"], "not the folder of a run"),
        (["train", "--resume", "runs/x", "--set", "encoder.micro_batch=8"], "not the folder of a run"),
        (["train", "hal-c3003", "--resume", "runs/x"], "give no recipe, data or other run with it"),
        (["train", "hal-c3003", "--run", "r", "--data", "x.csv", "--set", "encoder.epoch=1"], "mean encoder.epochs?"),
        (["recipes", "hal-x"], "no recipe 'hal-x'"),
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


def test_devices_are_named_and_not_counted(tmp_path: Path) -> None:
    arguments = ["train", "hal-c3003", "--data", "x.csv", "--run", str(tmp_path / "run"), "--devices", "4"]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    said = " ".join(refused.output.split())
    assert "'4' is not one of" in said
    assert all(name in said for name in ("auto", "one", "mirrored"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "raised",
    [
        NotADirectoryError(errno.ENOTDIR, "Not a directory", "afile/x"),
        OSError(errno.ENOSPC, "No space left on device", "afile/x"),
        OSError("afile/x: 98304 requested and 48096 written"),
    ],
)
def test_a_path_that_cannot_be_written_is_named_without_a_traceback(
    raised: OSError, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, explained():
        raise raised
    assert ended.value.exit_code == 1
    assert "afile/x" in (said := capsys.readouterr().err)
    assert "give another path, or make room" in said


@pytest.mark.parametrize(("begun", "advice"), [(True, "hal train --resume runs/first"), (False, "nothing was trained")])
def test_an_interrupted_training_says_how_to_go_on(
    begun: bool, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first").mkdir(parents=True)
    if begun:
        (tmp_path / "runs" / "first" / "checkpoint.npz").touch()
    monkeypatch.setattr("training.fit.start.start", interrupted)
    result = CliRunner().invoke(app, ["train", "hal-c3003", "--data", "x.csv", "--run", "runs/first"])
    assert result.exit_code == 130
    assert advice in result.output


def test_recipes_are_listed_with_what_they_are() -> None:
    result = CliRunner().invoke(app, ["recipes"])
    assert result.exit_code == 0
    assert "hal-t3002" in result.output
    assert "transfer learning" in result.output


def test_a_recipe_shows_every_choice_that_can_be_set() -> None:
    result = CliRunner().invoke(app, ["recipes", "hal-c3003"])
    assert result.exit_code == 0
    for shown in (
        "0.9024",
        "encoder.learning_rate",
        "1e-05",
        "projection.augmentation.contrast",
        "hal train hal-c3003",
    ):
        assert shown in result.output


@pytest.mark.parametrize("arguments", [["recipes"], ["recipes", "hal-c3003"], ["--help"], ["data", "--help"]])
def test_what_only_prints_imports_no_large_library(arguments: list[str]) -> None:
    program = (
        "import contextlib, io, sys, hal\n"
        f"sys.argv = ['hal', *{arguments}]\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    hal.main()\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = ast.literal_eval(done.stdout.splitlines()[-1])
    assert "training" in imported
    assert not {"tensorflow", "keras", "onnxruntime", "pandas", "matplotlib", "scipy", "sklearn", "PIL"} & {*imported}
