"""``hal`` is the map of the product, quick to start, and knows what is not installed."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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


def test_help_names_the_commands_of_both_halves_and_the_use_that_is_intended() -> None:
    found = run_hal("--help")
    assert (found.returncode, found.stderr) == (0, "")
    shown = found.stdout
    assert [
        command
        for command in ("data", "train", "export", "evaluate", "serve", "classify", "load-test")
        if f" {command} " not in shown
    ] == []
    panels = ("Train: images to a bundle", "Serve: a bundle to answers", "Measure: a service under load")
    assert [*panels] == sorted(panels, key=shown.index)
    assert "For research use; assists a qualified technologist." in shown


def test_help_says_where_to_begin_and_what_both_halves_share_is_listed_once_where_it_belongs() -> None:
    shown = run_hal("--help").stdout
    assert "Begin with 'hal serve'" in shown
    serve, measure = shown.index("Serve: a bundle"), shown.index("Measure: a service")
    assert [shown.count(f"│ {group} ") for group in ("slides", "bench")] == [1, 1]
    assert serve < shown.index("│ slides ") < measure < shown.index("│ bench ")


def test_help_keeps_brackets_and_lets_paragraphs_flow() -> None:
    assert "pip install -e '.[bench]'" in run_hal("bench", "service", "--help").stdout
    shown = " ".join(run_hal("classify", "--help").stdout.split())
    assert "refused images are tried again" in shown
    assert "Examples: hal classify slide-4711/" in shown


def test_no_arguments_show_the_help() -> None:
    assert "Serve: a bundle to answers" in run_hal().stdout


def test_commands_of_a_half_have_their_own_help() -> None:
    assert "prepare" in run_hal("data", "--help").stdout


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
