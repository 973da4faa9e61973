"""How many files of the service one image passes."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import service
from contract.bundle import Bundle
from tests.service.live_server import serving
from tests.service.tiny_bundle import TinyNetwork, encoded

ROOT = Path(service.__file__).parent
MOST_FILES = 20


@contextmanager
def entered() -> Iterator[set[str]]:
    """The files of the service in which a function is called, in any thread that is started meanwhile."""
    files: set[str] = set()

    def trace(frame: FrameType, event: str, _: Any) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(ROOT):
            files.add(file.relative_to(ROOT).as_posix())

    threading.setprofile(trace)
    try:
        yield files
    finally:
        threading.setprofile(None)


@pytest.mark.skipif(sys.gettrace() is not None, reason="another tool watches the calls")
def test_one_image_passes_few_files(bundle: Bundle, network: TinyNetwork) -> None:
    image = {"content": encoded(network.cell(3), "JPEG"), "headers": {"Content-Type": "image/jpeg"}}
    with entered() as files, serving(bundle) as live:
        assert live.http.post("/classify", **image).status_code == 200
        files.clear()
        assert live.http.post("/classify", **image).status_code == 200
        passed = sorted(files)
    assert "http/routes/classify.py" in passed
    assert "engine/onnx.py" in passed
    assert len(passed) <= MOST_FILES, " ".join(passed)
