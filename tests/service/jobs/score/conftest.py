from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from service.environment import load_settings
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


def run_for(bundle: Bundle, paths: Sequence[str], *, shard_size: int = 5, format: str = "parquet") -> dict[str, Any]:
    from service.jobs.score.store import run_of

    settings = load_settings({"bundle": bundle.root})
    return run_of(settings, bundle, sorted(paths), shard_size=shard_size, format=format)
