"""Fixtures from :mod:`tests.training.small`."""

from pathlib import Path

import keras
import pytest

from tests.training import small
from training.data.manifest import LabelledImage
from training.fit.run import Run
from training.recipe import Recipe


@pytest.fixture(autouse=True)
def _float32() -> None:
    keras.mixed_precision.set_global_policy("float32")


@pytest.fixture
def small_encoder() -> keras.Model:
    return small.encoder()


@pytest.fixture
def cells(tmp_path: Path) -> list[LabelledImage]:
    return small.cells(tmp_path / "cells")


@pytest.fixture
def small_recipe() -> Recipe:
    return small.RECIPE


@pytest.fixture
def run(tmp_path: Path, cells: list[LabelledImage]) -> Run:
    return Run.start(tmp_path / "run", small.RECIPE, cells)
