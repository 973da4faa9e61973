"""Every command of every page is run: here, or by the test or script that the ledger names, which is there.

A new line in a shell block fails until it is run here or the ledger says who runs its like.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hal
from contract.bundle import Bundle
from tests.docs.pages import PAGES, ROOT, hal_calls, shell_lines
from tests.service.live_server import LiveServer, serving

SHIPPED = ROOT / "tests/data/cells"

LEDGER = {
    # page, start of the line: who runs it, or the same command on a few small images
    ("README.md", r"make run"): "tests/docs/test_commands.py",
    ("README.md", r"make (test|install-dev)"): ".ci/run",
    ("CONTRIBUTING.md", r"make|\.ci/run"): ".ci/run",
    ("CONTRIBUTING.md", r"\.venv/bin/pre-commit"): ".pre-commit-config.yaml",
    ("docs/train.md", r"make install-dev"): ".ci/run",
    ("docs/train.md", r"hal|HAL_BUNDLE"): "tests/docs/test_train.py",
    ("docs/integrate.md", r"curl"): "tests/docs/test_integrate.py",
    (r"README.md|docs/\w+.md", r"hal composites"): "tests/training/composites/test_make.py",
    (r"README.md|docs/\w+.md", r"hal (data|evaluate|export|evidence|compare|sanity)"): "tests/docs/test_train.py",
    (r"README.md|docs/\w+.md", r"hal train"): "tests/training/test_cli.py",
    ("docs/load-test.md", r"hal load-test"): "tests/bench/test_load_test.py",
    ("docs/performance.md", r"hal bench service"): "tests/bench/test_service.py",
    ("docs/score.md", r"hal score|ray start"): "tests/service/jobs/score/test_score_command.py",
    ("docs/score.md", r"hal classify"): "tests/service/jobs/test_classify_command.py",
    ("docs/slides.md", r"hal slides characteristics"): "tests/training/slides/test_characteristics.py",
    (r"README.md|docs/\w+.md", r"(HAL_\w+=\S+ )+hal serve"): "tests/service/test_serve_command.py",
    ("docs/deploy.md", r"(HAL_[A-Z]+=\S+ )?docker compose"): "docker/check.sh",
    ("docs/deploy.md", r"export HAL_AUDIT"): "tests/docker/test_compose.py",
    ("docs/deploy.md", r"docker (build|run)"): "tests/docker/test_dockerfiles.py",
    ("docs/deploy.md", r"kubectl"): "tests/docker/test_kubernetes.py",
    (r"docs/\w+.md", r"pip install"): "tests/test_locks.py",
}
RUN_HERE = [
    ("docs/operate.md", r"hal keys"),
    ("docs/deploy.md", r"hal keys"),
    ("docs/risk.md", r"hal classify"),
    ("docs/slides.md", r"hal classify"),
    ("docs/operate.md", r"curl"),
    ("docs/slides.md", r"curl"),
    ("README.md", r"curl"),
]


def of(page: str, start: str) -> list[str]:
    return [line for line in shell_lines(page) if re.match(start, line)]


def test_every_command_is_run_somewhere() -> None:
    rules = [*LEDGER, *RUN_HERE]
    unknown = [
        f"{page}: {line}"
        for page in PAGES
        for line in shell_lines(page)
        if not any(re.fullmatch(where, page) and re.match(start, line) for where, start in rules)
    ]
    assert unknown == []


@pytest.mark.parametrize("rule", [*LEDGER, *RUN_HERE], ids=" ".join)
def test_the_ledger_is_about_lines_and_files_that_are_there(rule: tuple[str, str]) -> None:
    where, start = rule
    assert any(of(page, start) for page in PAGES if re.fullmatch(where, page)), "no such line any more"
    assert (ROOT / LEDGER.get(rule, "tests")).exists()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pages' names are a reader's own files."""
    for name in ("site-images", "slide-4711"):
        (tmp_path / name).mkdir()
        shutil.copy(SHIPPED / "basophil-1.jpg", tmp_path / name)
    for name in ("cell.jpg", "cell-1.jpg", "cell-2.jpg"):
        shutil.copy(SHIPPED / "monocyte-1.jpg", tmp_path / name)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    return tmp_path


PAGES_OF_HAL = [(page, start) for page, start in RUN_HERE if start.startswith("hal")]


@pytest.mark.parametrize(("page", "start"), PAGES_OF_HAL)
def test_commands_work_one_after_the_other(page: str, start: str, folder: Path, bundle: Bundle) -> None:
    lines = of(page, start)
    for place, line in enumerate(lines):
        if line in lines[:place]:
            # The same file of keys, made again further down the page.
            (folder / "keys.json").unlink(missing_ok=True)
        for call in hal_calls(line):
            found = CliRunner().invoke(hal.app, call.words, env={"HAL_BUNDLE": str(bundle.root), **call.variables})
            assert found.exit_code == 0, f"{line}: {found.output}{found.exception!r}"


@pytest.fixture(scope="module")
def live(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle) as server:
        yield server


LINES_OF_CURL = [(page, line) for page, start in RUN_HERE if start == "curl" for line in of(page, start)]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(("page", "line"), LINES_OF_CURL)
def test_lines_of_curl_are_answered(page: str, line: str, folder: Path, live: LiveServer) -> None:
    answer = live.http.post("/classify", files={"file": (folder / "cell.jpg").read_bytes()}).content
    (folder / "answer.json").write_bytes(answer)
    line = re.sub(r"http://(127\.0\.0\.1|host):8000", live.url, line)
    found = subprocess.run(
        ["sh", "-c", f"{line} --silent --fail"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, f"{page}: {found}"
    assert '"model"' in found.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_run_ends_in_hal_serve() -> None:
    found = subprocess.run(
        ["make", "--dry-run", "run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1] == "exec .venv/bin/hal serve"
