import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from contract import bundle as bundles
from contract.bundle import Bundle
from contract.classes import HAIRY_CELL
from tests.service.load_clients import CELL, ROUNDS
from tests.service.shelf import Shelf
from tests.service.tiny_bundle import TinyNetwork, description_for, encoded


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name.startswith("HAL_") or name == "PORT":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def network() -> TinyNetwork:
    return TinyNetwork()


WriteBundle = Callable[..., Bundle]


@pytest.fixture(scope="session")
def write_bundle(network: TinyNetwork) -> WriteBundle:
    def write(
        root: Path,
        *,
        graph: bytes | None = None,
        hairy_known: bool = True,
        version: str = "1.2.3",
        network: TinyNetwork = network,
    ) -> Bundle:
        root.mkdir(parents=True, exist_ok=True)
        (root / "model.onnx").write_bytes(graph or network.graph())
        images = np.stack([network.cell(index) for index in (0, 7, HAIRY_CELL.index)])
        np.savez(root / "golden.npz", images=images, logits_float32=network.logits(images))
        return bundles.write(root, description_for(root, hairy_known=hairy_known, version=version))

    return write


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, write_bundle: WriteBundle) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


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
