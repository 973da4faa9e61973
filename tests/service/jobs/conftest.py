"""``hal classify`` on a folder of twenty cells, in this process or by a service."""

import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import hal
from contract import bundle as bundles
from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from tests.service.jobs.result_files import Classify
from tests.service.tiny_bundle import TinyNetwork, encoded


@pytest.fixture
def classify(bundle: Bundle) -> Classify:
    def run(*arguments: object, **variables: str) -> Result:
        given = {"HAL_BUNDLE": str(bundle.root), "HAL_ENGINE_THREADS": "1", "COLUMNS": "200"}
        return CliRunner().invoke(hal.app, ["classify", *map(str, arguments)], env=given | variables)

    return run


@pytest.fixture
def folder(tmp_path: Path, network: TinyNetwork) -> Path:
    """Twenty cells, one of each class, in two folders, with files beside them that are no images."""
    for index in range(len(CLASS_NAMES)):
        path = tmp_path / "smear" / f"slide {index % 2}" / f"{index:02d}.{'PNG' if index % 3 else 'bmp'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(network.cell(index), "PNG" if index % 3 else "BMP"))
    (tmp_path / "smear" / "notes.txt").write_text("no image")
    (tmp_path / "smear" / "._00.png").write_bytes(b"macOS")
    return tmp_path / "smear"


@pytest.fixture
def other(bundle: Bundle, tmp_path: Path) -> Bundle:
    """The same network with another calibration."""
    root = shutil.copytree(bundle.root, tmp_path / "other")
    calibration = bundle.description.calibration.model_copy(update={"id": "t-2"})
    return bundles.write(root, bundle.description.model_copy(update={"calibration": calibration}))
