"""The programs of docs/examples, each against the real service where its tool is installed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.bundle import Bundle
from tests.client.faulty_road import FaultyRoad
from tests.docs.pages import text
from tests.paths import CELLS, ROOT
from tests.service.live_server import LiveServer, serving, until
from tests.service.slow_device import SlowDevice

EXAMPLES = ROOT / "docs/examples"
PROGRAMS = sorted(path.name for path in EXAMPLES.iterdir() if path.is_file())
TOOLS = {".py": ("python3",), ".java": ("javac",), ".cs": ("dotnet", "mcs")}
BASOPHIL, MONOCYTE = (str(CELLS / name) for name in ("basophil-1.jpg", "monocyte-1.jpg"))

Program = Callable[..., "subprocess.Popen[str]"]


def made(source: Path, tool: str, folder: Path) -> list[str]:
    """Make a program in ``folder``; the command that runs it."""

    def call(*command: str, inside: Path = folder) -> None:
        found = subprocess.run(command, cwd=inside, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found

    if tool == "python3":
        return [sys.executable, str(source)]
    if tool == "javac":
        call("javac", "-d", str(folder), str(source))
        quick = ("-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
        return ["java", *quick, "-cp", str(folder), source.stem]
    if tool == "mcs":
        libraries = ("-r:System.Net.Http.dll", "-r:System.Runtime.Serialization.dll")
        call("mcs", str(source), *libraries, f"-out:{folder / 'Classify.exe'}")
        return ["mono", str(folder / "Classify.exe")]
    call("dotnet", "new", "console", "--no-restore", "--name", "Example")
    shutil.copy(source, folder / "Example/Program.cs")
    call("dotnet", "build", "--output", str(folder / "built"), inside=folder / "Example")
    return ["dotnet", str(folder / "built/Example.dll")]


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """An example, ready to be run."""
    source = EXAMPLES / str(request.param)
    tools = TOOLS[source.suffix]
    tool = next((tool for tool in tools if shutil.which(tool)), None)
    if tool is None:
        pytest.skip(f"{' or '.join(tools)}, which {source.name} needs, is not installed")
    command = made(source, tool, tmp_path_factory.mktemp("program"))

    def run(*arguments: str, **variables: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*command, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def finished(process: "subprocess.Popen[str]") -> tuple[int, str]:
    shown, said = process.communicate(timeout=60)
    return process.returncode, shown + said


def refused(live: LiveServer) -> bool:
    """Whether a request met a full queue."""
    return 'outcome="queue_full"' in live.http.get("/metrics").text


def test_every_program_is_on_the_page() -> None:
    assert [name for name in PROGRAMS if f"(examples/{name})" not in text("docs/integrate.md")] == []


def test_cells_are_classified_and_a_bad_file_is_told(live: LiveServer, tmp_path: Path, program: Program) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"GIF89a")
    code, shown = finished(program(live.url, BASOPHIL, MONOCYTE, str(tmp_path / "bad.jpg")))
    assert code == 0, shown
    files = [("file", Path(cell).read_bytes()) for cell in (BASOPHIL, MONOCYTE)]
    for result in live.http.post("/classify", files=files).json()["results"]:
        assert result["class_name"] in shown
    assert "unsupported_type" in shown


def test_only_bad_files_are_told_too(live: LiveServer, tmp_path: Path, program: Program) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"GIF89a")
    _, shown = finished(program(live.url, str(tmp_path / "bad.jpg")))
    assert "unsupported_type" in shown


def test_a_full_service_is_asked_again(bundle: Bundle, program: Program) -> None:
    device = SlowDevice(held=True)
    full = serving(bundle, open_engine=lambda *_: device, queue_limit=1, max_batch=1)
    with full as live, ThreadPoolExecutor(1) as pool:
        filling = pool.submit(live.http.post, "/classify", files={"file": Path(BASOPHIL).read_bytes()})
        device.wait_until_busy()
        running = program(live.url, MONOCYTE)
        until(lambda: refused(live) or running.poll() is not None)
        device.let_go()
        code, shown = finished(running)
        assert filling.result().status_code == 200
        assert refused(live)
    assert code == 0, shown


def test_the_key_is_sent(live: LiveServer, road: FaultyRoad, program: Program) -> None:
    road.upstream = live.port
    finished(program(road.url, BASOPHIL, HAL_API_KEY="the-key"))
    assert b"authorization: bearer the-key\r\n" in bytes(road.received).lower()
