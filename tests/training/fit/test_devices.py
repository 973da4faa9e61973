"""``hal train --devices`` as it is typed, in processes of their own: devices are fixed once TensorFlow has begun."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hal import app
from tests.processes import ROOT
from tests.training import small
from training.data import manifest
from training.fit.run import Run

CHOICES = ("--set", "encoder.epochs=1", "--set", "classifier.epochs=1")


def hal(*arguments: object, cpus: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.training.command_on_cpus", str(cpus), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devices")
    manifest.write(folder / "cells.csv", small.cells(folder / "cells"))
    return folder / "cells.csv"


def test_all_devices_of_the_machine_train(data: Path, tmp_path: Path) -> None:
    done = hal("train", "small", "--data", data, "--run", tmp_path / "run", "--devices", "mirrored", *CHOICES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "devices: 2"
    assert "float32, on 2 devices, from stage 1" in " ".join(done.stdout.split())
    progress, groups = Run.open(tmp_path / "run").restore()
    assert progress.stage == len(small.RECIPE.stages)
    changed = [
        np.abs(found - initial).max()
        for found, initial in zip(groups["encoder"], small.encoder().get_weights(), strict=True)
    ]
    assert max(changed) > 1e-3


def test_devices_are_named_and_not_counted(data: Path, tmp_path: Path) -> None:
    arguments = ["train", "small", "--data", str(data), "--run", str(tmp_path / "run"), "--devices", "4"]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    said = " ".join(refused.output.split())
    assert "'4' is not one of" in said
    assert all(name in said for name in ("auto", "one", "mirrored"))
    assert not (tmp_path / "run").exists()
