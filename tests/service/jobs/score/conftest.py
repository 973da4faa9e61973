from pathlib import Path

import pytest

from contract.classes import CLASS_NAMES
from tests.service.tiny_bundle import TinyNetwork, encoded


@pytest.fixture
def archive(tmp_path: Path, network: TinyNetwork) -> Path:
    """Twenty cells, one of each class, and one file that is no image."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for index in range(len(CLASS_NAMES)):
        (folder / f"{index:02d}.png").write_bytes(encoded(network.cell(index)))
    (folder / "20.png").write_bytes(b"no image")
    return folder
