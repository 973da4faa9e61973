"""A client that is generated from the OpenAPI document, by openapi-python-client, works."""

import subprocess
import sys
from pathlib import Path

import pytest

from contract.bundle import Bundle
from tests.paths import CELLS
from tests.service.live_server import serving

pytest.importorskip("openapi_python_client", reason="openapi-python-client is not installed")

# The generator knows raw bodies as octet-stream only.
RAW = "".join(
    f"  {kind}: application/octet-stream\n"
    for kind in ("image/jpeg", "image/png", "image/bmp", "image/tiff", "application/zip")
)
CONFIG = f"package_name_override: hal_client\npost_hooks: []\ncontent_type_overrides:\n{RAW}"
PROGRAM = """
import io, sys
sys.path.insert(0, sys.argv[1])
from hal_client import Client
from hal_client.api.classify import classify
from hal_client.models import ClassifiedImage, ClassifyAnswer, ClassifyFilesBody, RefusedImage
from hal_client.types import File

files = [File(open(sys.argv[3], "rb"), "cell.jpg"), File(io.BytesIO(b"x"), "none.jpg")]
answer = classify.sync(client=Client(sys.argv[2]), body=ClassifyFilesBody(file=files, client_ref=["7", "8"]))
assert isinstance(answer, ClassifyAnswer), answer
first, second = answer.results
assert isinstance(first, ClassifiedImage) and isinstance(second, RefusedImage)
assert second.error.code == "unsupported_type"
print(first.class_id, first.client_ref, first.candidates[0].probability == first.confidence)
"""


def test_a_generated_client_classifies_a_cell(bundle: Bundle, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"]
    command += ["--path", document, "--config", config, "--output-path", tmp_path / "hal_client"]
    with serving(bundle) as live:
        document.write_bytes(live.http.get("/openapi.json").content)
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
        run = [sys.executable, "-W", "error", "-c", PROGRAM, tmp_path, live.url, CELLS / "eosinophil-1.jpg"]
        done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[1:] == ["7", "True"]
