"""Commands that run without a network and with an empty home folder ask for no name and write nothing there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contract.bundle import Bundle
from tests.paths import CELLS, ROOT

RECORDER = ROOT / "tests" / "names_asked_for.py"
ALONE = ("unshare", "--net", "--mount")
CELL = CELLS / "monocyte-1.jpg"
SERVE = f"""
import pathlib, sys
from tests.service.process import running
with running(pathlib.Path(sys.argv[1])) as served, served.http() as http:
    image = pathlib.Path({str(CELL)!r}).read_bytes()
    answer = http.post("/classify", content=image, headers={{"content-type": "image/jpeg"}})
    assert answer.status_code == 200, answer.text
    assert http.get("/").status_code == 200
    assert served.stop() == 0
"""


def namespaces() -> bool:
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not namespaces(), reason="unshare --net --mount needs Linux and root")


def names_asked_for(home: Path, *command: str) -> list[str]:
    """The names that Python with these arguments asks for, with this home folder."""
    outside = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    found = subprocess.run(
        [*ALONE, sys.executable, str(RECORDER), sys.executable, *command],
        cwd=ROOT,
        env={**outside, "HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    names = json.loads(found.stdout.splitlines()[-1])
    assert isinstance(names, list)
    return names


def test_a_name_that_is_asked_for_is_seen(tmp_path: Path) -> None:
    program = "import contextlib, socket\nwith contextlib.suppress(OSError): socket.getaddrinfo('example.org', 443)"
    assert set(names_asked_for(tmp_path, "-c", program)) == {"example.org"}


@pytest.mark.parametrize("package", ["training", "bench"])
def test_a_package_turns_the_telemetry_of_onnx_runtime_off(package: str, tmp_path: Path) -> None:
    assert names_asked_for(tmp_path, "-c", f"import {package}, onnxruntime") == []
    assert [*tmp_path.rglob("*")] == []


def test_serve_asks_for_no_name_and_writes_no_file(tmp_path: Path, bundle: Bundle) -> None:
    assert names_asked_for(tmp_path, "-c", SERVE, str(bundle.root)) == []
    assert [*tmp_path.rglob("*")] == []


def test_classify_asks_for_no_name_and_writes_no_file(tmp_path: Path, bundle: Bundle) -> None:
    home = tmp_path / "home"
    home.mkdir()
    given = ("classify", str(CELL), "--bundle", str(bundle.root), "--out", str(tmp_path / "out.csv"))
    assert names_asked_for(home, "-m", "hal", *given) == []
    assert (tmp_path / "out.csv").exists()
    assert [*home.rglob("*")] == []


def test_score_asks_whether_this_is_a_cloud_and_writes_no_file(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_prestart_worker_first_driver", "0")  # no process that is not needed
    home = tmp_path / "home"
    home.mkdir()
    given = ("score", str(CELLS), "--bundle", str(bundle.root), "--out", str(tmp_path / "out"), "--workers", "1")
    # Ray's head process asks it whatever RAY_USAGE_STATS_ENABLED says (ray/_common/usage/usage_lib.py).
    assert set(names_asked_for(home, "-m", "hal", *given)) <= {"metadata.google.internal"}
    assert [*home.rglob("*")] == []
