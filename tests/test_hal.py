"""``hal`` is the map of the product, quick to start, and knows what is not installed."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hal

ROOT = Path(hal.__file__).parent
HEAVY = ["tensorflow", "keras", "tf2onnx", "sklearn", "fastapi", "uvicorn", "onnxruntime", "PIL"]


def run_hal(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``hal ARGUMENTS`` in a Python of its own after the statements ``before``."""
    program = f"import sys; {before or 'pass'}; import hal; sys.argv[1:] = {list(arguments)!r}; hal.main()"
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "120", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
    )


def shown(*arguments: str) -> str:
    """What a command prints in this process."""
    found = CliRunner().invoke(hal.app, [*arguments], env={"COLUMNS": "120", "TERM": "dumb"})
    assert found.exception is None or isinstance(found.exception, SystemExit)
    return found.output


def test_help_is_a_map_of_both_halves_with_the_intended_use_and_what_they_share_once() -> None:
    found = run_hal("--help")
    assert (found.returncode, found.stderr) == (0, "")
    text = found.stdout
    assert "For research use; assists a qualified technologist." in text
    panels = [
        *("Train: images to a bundle", "│ train ", "Serve: a bundle to answers", "│ slides "),
        *("Measure: a service under load", "│ bench "),
    ]
    assert panels == sorted(panels, key=text.index)
    assert [text.count(words) for words in panels] == [1] * len(panels)
    assert shown().strip() == shown("--help").strip()


def test_help_keeps_brackets_and_lets_paragraphs_flow() -> None:
    assert "pip install -e '.[bench]'" in shown("bench", "service", "--help")
    text = " ".join(shown("classify", "--help").split())
    assert "refused images are tried again" in text
    assert "Examples: hal classify slide-4711/" in text


def test_help_loads_neither_half_s_libraries() -> None:
    program = f"import hal, json, sys; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []


def test_version_is_the_project_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert run_hal("--version").stdout == f"hal {project['version']}\n"


def test_without_the_training_package_only_the_service_is_offered() -> None:
    found = run_hal("--help", before="sys.modules['training'] = None")
    assert found.returncode == 0
    assert " serve " in found.stdout
    assert " train " not in found.stdout


def test_a_fault_inside_a_half_is_not_taken_for_its_absence() -> None:
    broken = (
        "import types; sys.modules['training'] = types.ModuleType('training'); sys.modules['training'].__path__ = []; "
    )
    missing = "sys.modules['training.cli'] = types.ModuleType('training.cli')"
    found = run_hal("--help", before=broken + missing)
    assert found.returncode != 0
    assert "has no attribute 'app'" in found.stderr


def test_a_command_whose_libraries_are_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def train() -> None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    monkeypatch.setattr(hal, "app", train)
    monkeypatch.setattr(sys, "argv", ["hal", "train", "hal_c3003"])
    with pytest.raises(SystemExit, match=r"^hal train: the Python package 'tensorflow' .*make install-dev"):
        hal.main()


@pytest.mark.parametrize("module", ["training.data.missing", "contract.missing"])
def test_a_module_of_the_project_that_is_missing_is_a_fault_and_not_an_instruction(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    def broken() -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(hal, "app", broken)
    with pytest.raises(ModuleNotFoundError, match=module):
        hal.main()
