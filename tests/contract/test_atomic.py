"""Files are there whole or not at all: when the disk is full, and when the process that writes is killed."""

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from contract import bundle as bundles
from contract.atomic import write_text
from tests.paths import ROOT
from tests.service.tiny_bundle import TinyNetwork, description_for

KILLED = """
import os, signal, sys
from pathlib import Path
from contract.atomic import replacing
with replacing(Path(sys.argv[1])) as unfinished:
    unfinished.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """No file can have more bytes than this."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_former_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    write_text(file, "the former")
    with pytest.raises(OSError, match="File too large"), full_disk(after=100):
        write_text(file, "x" * 1000)
    assert file.read_text() == "the former"
    assert [*tmp_path.iterdir()] == [file]


def test_a_killed_process_leaves_the_former_file_and_the_next_one_writes(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    write_text(file, "the former")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(file)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert file.read_text() == "the former"
    write_text(file, "the next, with µ")
    assert file.read_text(encoding="utf-8") == "the next, with µ"
    assert [*tmp_path.iterdir()] == [file]


def test_figures_that_find_no_room_leave_the_bundle_that_is_served(tmp_path: Path) -> None:
    network = TinyNetwork()
    (tmp_path / "model.onnx").write_bytes(network.graph())
    images = np.stack([network.cell(index) for index in (0, 7, 19)])
    np.savez(tmp_path / "golden.npz", images=images, logits_float32=network.logits(images))
    former = bundles.write(tmp_path, description_for(tmp_path))
    with pytest.raises(OSError, match="File too large"), full_disk(after=1000):
        bundles.write(tmp_path, former.description.model_copy(update={"intended_use": "x" * 1000}))
    assert bundles.load(tmp_path).description == former.description
