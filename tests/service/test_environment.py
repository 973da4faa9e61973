"""What is found out about the installation when the service starts."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contract.bundle import Bundle
from service.environment import clashing_runtimes
from tests.service.process import ROOT, environment, running


@pytest.mark.parametrize("installed", [[], ["onnxruntime"], ["onnxruntime-gpu"]])
def test_one_onnx_runtime_is_as_it_should_be(installed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    find_only(installed, monkeypatch)
    assert list(clashing_runtimes()) == []


def test_two_onnx_runtimes_are_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    find_only(["onnxruntime", "onnxruntime-gpu"], monkeypatch)
    (warning,) = clashing_runtimes()
    assert warning.startswith("onnxruntime 1.2.3 and onnxruntime-gpu 1.2.3 are both installed")
    assert "pip uninstall onnxruntime onnxruntime-gpu" in warning
    assert "-e '.[service]' (CPU)" in warning


def test_a_start_with_two_onnx_runtimes_says_so_in_the_log_and_serves(bundle: Bundle, tmp_path: Path) -> None:
    for name in ("onnxruntime", "onnxruntime_gpu"):
        folder = tmp_path / f"{name}-1.2.3.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n")
    with running(bundle.root, PYTHONPATH=os.pathsep.join([str(ROOT), str(tmp_path)])) as served:
        (line,) = [line for line in served.lines() if "are both installed" in line["message"]]
        assert line["level"] == "warning"


def find_only(installed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in installed:
            return "1.2.3"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_novelty_takes_no_threads_from_the_engine() -> None:
    """Those of OpenBLAS spin while they wait."""
    pytest.importorskip("threadpoolctl")
    for first in ("hal", "service.http.app"):
        asked = (
            f"import {first}, numpy, threadpoolctl; print([p['num_threads'] for p in threadpoolctl.threadpool_info()])"
        )
        variables = environment()
        variables.pop("OPENBLAS_NUM_THREADS", None)
        told = subprocess.run([sys.executable, "-c", asked], env=variables, capture_output=True, text=True, check=True)
        assert set(json.loads(told.stdout)) == {1}, first
