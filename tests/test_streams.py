"""Commands whose standard streams are closed, full or broken; ``hal serve`` is in tests/service/test_terminal.py."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from contract.bundle import Bundle
from tests.paths import CELLS, ROOT
from tests.service.process import environment

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full is Linux's")
CLASSIFY = f"classify {CELLS} --out results.jsonl --fit crop"
PREPARE = f"data prepare --preset folder={CELLS.parent} --mapping cells.txt --out cells.csv"
"""Commands whose answer is a file; the first speaks on standard error, the second on standard output."""


def hal(words: str, redirection: str, folder: Path, bundle: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-c", f'exec "$0" "$1" {words} {redirection}', sys.executable, str(ROOT / "hal.py")],
        cwd=folder,
        env=environment(HAL_BUNDLE=str(bundle)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("words", "redirection"),
    [
        ("--help", "> /dev/full"),
        ("recipes", "> /dev/full"),
        ("recipes", "> /dev/full 2>&1"),
        ("recipes", "> >(true)"),
    ],
)
def test_an_answer_that_cannot_be_printed_is_no_traceback(
    words: str, redirection: str, tmp_path: Path, bundle: Bundle
) -> None:
    done = hal(words, redirection, tmp_path, bundle.root)
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr
    if "full" in redirection:
        assert done.returncode == 1
    if redirection == "> /dev/full":
        assert "No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("words", "redirection"),
    [
        pytest.param(CLASSIFY, "<&- >&- 2>&-", id="classify closed"),
        pytest.param(CLASSIFY, "2> /dev/full", id="classify full"),
        pytest.param(PREPARE, "<&- >&- 2>&-", id="data prepare closed"),
        pytest.param(PREPARE, "> /dev/full", id="data prepare full"),
    ],
)
def test_files_are_written_whole_whatever_becomes_of_what_is_said_meanwhile(
    words: str, redirection: str, tmp_path: Path, bundle: Bundle
) -> None:
    (tmp_path / "cells.txt").write_text("cells=Monocyte\n")
    done = hal(words, redirection, tmp_path, bundle.root)
    assert "Traceback" not in done.stdout + done.stderr
    assert "ignored" not in done.stdout + done.stderr
    out = tmp_path / shlex.split(words)[shlex.split(words).index("--out") + 1]
    cells = sum(path.suffix == ".jpg" for path in CELLS.iterdir())
    lines = out.read_text().splitlines()
    assert len(lines) == cells + (out.suffix == ".csv"), "and nothing but the results"
    if out.suffix == ".jsonl":
        assert all("path" in json.loads(line) for line in lines)
    # What goes to standard error is nobody's result.
    assert done.returncode == (1 if redirection == "> /dev/full" else 0)
