from pathlib import Path

import numpy as np
import pytest

from contract.bundle import Bundle
from tests.conftest import WriteBundle
from tests.service.load_clients import CELL, ROUNDS
from tests.service.shelf import Shelf
from tests.service.tiny_bundle import TinyNetwork, encoded, with_novelty


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory, write_bundle: WriteBundle, network: TinyNetwork) -> Path:
    """A bundle that takes its time, and hangs when it sees a certain image."""
    root = tmp_path_factory.mktemp("slow")
    return write_bundle(root, graph=network.graph(rounds=ROUNDS, hangs=True)).root


@pytest.fixture(scope="session")
def cell(network: TinyNetwork) -> bytes:
    return encoded(network.cell(CELL))


@pytest.fixture
def shelf(tmp_path: Path, write_bundle: WriteBundle, network: TinyNetwork) -> Shelf:
    return Shelf(tmp_path, write_bundle, network)


@pytest.fixture(scope="session")
def familiar(tmp_path_factory: pytest.TempPathFactory, write_bundle: WriteBundle, network: TinyNetwork) -> Bundle:
    """A bundle that knows images as dark as the darker half of the classes; ``network.colours`` says which."""
    bundle = write_bundle(tmp_path_factory.mktemp("familiar") / "tiny")
    return with_novelty(bundle, float(np.median(network.colours.sum(axis=1, dtype=float))))
