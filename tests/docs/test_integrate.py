"""Every program of docs/integrate.md, against the real service."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.bundle import Bundle
from tests.client.faulty_road import FaultyRoad
from tests.paths import ROOT
from tests.service.live_server import LiveServer, serving, until
from tests.service.slow_device import SlowDevice

TEXT = (ROOT / "docs" / "integrate.md").read_text(encoding="utf-8")
CELLS = [str(ROOT / "tests" / "data" / "cells" / name) for name in ("basophil-1.jpg", "monocyte-1.jpg")]
PROGRAMS = ("with_client.py", "plain.py", "slide.py", "Classify.java", "Classify.cs")


def blocks(info: str) -> list[str]:
    """The fenced blocks with this info string."""
    return re.findall(rf"^```{re.escape(info)}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


Program = Callable[..., "subprocess.Popen[str]"]


TOOLS = {".py": ("python3",), ".java": ("javac",), ".cs": ("dotnet", "mcs")}
LANGUAGES = {".py": "python", ".java": "java", ".cs": "csharp"}


def tool_for(name: str, path: str | None = None) -> str | None:
    """The first of the tools that can make a program, ``None`` if there is none; ``path`` for PATH."""
    return next((tool for tool in TOOLS[Path(name).suffix] if shutil.which(tool, path=path)), None)


def written_down(name: str, folder: Path) -> None:
    (text,) = blocks(f"{LANGUAGES[Path(name).suffix]} {name}")
    (folder / name).write_text(text, encoding="utf-8")


def made(name: str, tool: str, folder: Path) -> list[str]:
    """Make the program in ``folder``; the command that runs it."""

    def call(*command: str, inside: Path = folder) -> None:
        found = subprocess.run(command, cwd=inside, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found

    if tool == "python3":
        return [sys.executable, str(folder / name)]
    if tool == "javac":
        call("javac", name)
        quick = ("-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
        return ["java", *quick, "-cp", str(folder), "Classify"]
    if tool == "mcs":
        call("mcs", name, "-r:System.Net.Http.dll", "-r:System.Runtime.Serialization.dll")
        return ["mono", str(folder / "Classify.exe")]
    call("dotnet", "new", "console", "--no-restore", "--name", "Example")
    shutil.copy(folder / name, folder / "Example" / "Program.cs")
    call("dotnet", "build", "--output", str(folder / "built"), inside=folder / "Example")
    return ["dotnet", str(folder / "built" / "Example.dll")]


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """An example as a reader would have written it down, ready to be run."""
    name: str = request.param
    folder = tmp_path_factory.mktemp("program")
    tool = tool_for(name)
    if tool is None:
        pytest.skip(f"{' or '.join(TOOLS[Path(name).suffix])}, which {name} needs, is not installed")
    written_down(name, folder)
    command = made(name, tool, folder)

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


@pytest.fixture(scope="module")
def live(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle) as server:
        yield server


def test_cells_are_classified_and_a_bad_file_is_told(live: LiveServer, tmp_path: Path, program: Program) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"GIF89a")
    code, shown = finished(program(live.url, *CELLS, str(tmp_path / "bad.jpg")))
    assert code == 0, shown
    expected = live.http.post("/classify", files=[("file", Path(cell).read_bytes()) for cell in CELLS]).json()
    for result in expected["results"]:
        assert result["predicted_class"] in shown
    assert "unsupported_type" in shown


def test_only_bad_files_are_told_too(live: LiveServer, tmp_path: Path, program: Program) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"GIF89a")
    _, shown = finished(program(live.url, str(tmp_path / "bad.jpg")))
    assert "unsupported_type" in shown


def test_a_full_service_is_asked_again(bundle: Bundle, program: Program) -> None:
    device = SlowDevice(held=True)
    full = serving(bundle, open_engine=lambda *_: device, queue_limit=1, max_batch=1)
    with full as live, ThreadPoolExecutor(1) as pool:
        filling = pool.submit(live.http.post, "/classify", files={"file": Path(CELLS[0]).read_bytes()})
        device.wait_until_busy()
        running = program(live.url, CELLS[1])
        until(lambda: live.hal.statistics.refused >= 1 or running.poll() is not None)
        device.let_go()
        code, shown = finished(running)
        assert filling.result().status_code == 200
        assert live.hal.statistics.refused >= 1
    assert code == 0, shown


def test_the_key_is_sent(live: LiveServer, road: FaultyRoad, program: Program) -> None:
    road.upstream = live.port
    finished(program(road.url, CELLS[0], HAL_API_KEY="the-key"))
    assert b"authorization: bearer the-key\r\n" in bytes(road.received).lower()


def curl_lines(info: str) -> list[str]:
    return [line for block in blocks(info) for line in block.splitlines()]


@pytest.mark.parametrize("line", curl_lines("sh"))
def test_curl_lines_are_answered(live: LiveServer, line: str) -> None:
    assert run_line(line, live).count('"predicted_class"') == line.count("@")


@pytest.mark.parametrize("line", curl_lines("sh slides"))
def test_a_slide_s_line_gives_advice(live: LiveServer, line: str) -> None:
    if live.http.get("/openapi.json").json()["paths"].get("/slides/classify") is None:
        pytest.skip("this service has no /slides yet")
    assert '"advice"' in run_line(line, live)


def run_line(line: str, live: LiveServer) -> str:
    command = shlex.split(line.replace("http://127.0.0.1:8000", live.url))
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found
    return found.stdout


def stand_in(folder: Path, name: str, script: str = "") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\nset -e\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def test_dotnet_is_taken_before_mono_and_either_alone(tmp_path: Path) -> None:
    for names, expected in ((["mcs"], "mcs"), (["dotnet"], "dotnet"), (["dotnet", "mcs"], "dotnet"), ([], None)):
        folder = tmp_path / "-".join(["bin", *names])
        folder.mkdir()
        for name in names:
            stand_in(folder, name)
        assert tool_for("Classify.cs", path=str(folder)) == expected


def test_dotnet_is_asked_for_a_project_with_the_program_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in that makes and builds as little as dotnet would: it is not in Debian."""
    stand_in(
        tmp_path / "bin",
        "dotnet",
        """case "$1" in
new) test "$2 $3 $4 $5" = "console --no-restore --name Example"; mkdir Example
  touch Example/Program.cs Example/Example.csproj ;;
build) test "$2" = --output; test -f Example.csproj; mkdir "$3"; cp Program.cs "$3/Example.dll" ;;
*) cat "$1" ;;
esac""",
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    written_down("Classify.cs", tmp_path)
    command = made("Classify.cs", "dotnet", tmp_path)
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout in blocks("csharp Classify.cs")


def test_the_classify_paragraph_names_the_exit_codes_that_there_are() -> None:
    from service.jobs.exit_codes import ALL_CLASSIFIED, NOT_DONE, SOME_REFUSED, STOPPED

    said = re.search(r"Exit code: (\d) all classified, (\d) wrong.*?(\d)\s+some.*?(\d+) stopped", TEXT, re.DOTALL)
    assert said is not None
    assert tuple(map(int, said.groups())) == (ALL_CLASSIFIED, NOT_DONE, SOME_REFUSED, STOPPED)
