"""``hal slides summary`` on what ``hal classify`` and the service write."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from fhir.resources.R4B.bundle import Bundle as FhirBundle
from typer.testing import CliRunner

import hal
from contract.bundle import Bundle
from contract.classes import BY_ID, HAIRY_CELL
from tests.service.live_server import serving
from tests.service.tiny_bundle import TinyNetwork, encoded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, network: TinyNetwork) -> Path:
    """18 lymphocytes, 3 hairy cells, 2 erythroblasts and a file that is no image."""
    root = tmp_path_factory.mktemp("slide")
    classes = [BY_ID["lymphocyte"].index] * 18 + [HAIRY_CELL.index] * 3 + [BY_ID["erythroblast"].index] * 2
    for number, index in enumerate(classes):
        pixels = network.cell(index).copy()
        pixels[0, 0] = number
        (root / f"{number:02}.png").write_bytes(encoded(pixels))
    (root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return root


def run(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(hal.app, [str(argument) for argument in arguments], env=environment)


def summary_of(bundle: Bundle, *files: Path, **environment: str) -> dict[str, Any]:
    told = run("slides", "summary", *files, "--bundle", bundle.root, "--format", "json", **environment)
    assert (told.exit_code, told.stderr) == (0, "")
    return dict(json.loads(told.stdout))


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_what_hal_classify_wrote_is_summarised(bundle: Bundle, folder: Path, tmp_path: Path, ending: str) -> None:
    results = tmp_path / f"results.{ending}"
    classified = run("classify", folder, "--out", results, "--bundle", bundle.root)
    assert classified.exit_code == 2, "one image was refused"
    summary = summary_of(bundle, results, HAL_SITE_FPR="0.002", HAL_SLIDE_MIN_CELLS="20")
    assert (summary["images"], summary["refused"], summary["white_cells"]) == (24, 1, 21)
    assert summary["advice"] == "follow up by flow cytometry"
    assert (summary["hairy"]["flagged"], summary["hairy"]["cells"]) == (3, 21)
    assert summary["rule"]["min_cells"] == 20


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_unfamiliar_images_are_kept_in_files_and_tell_on_the_slide(
    familiar: Bundle, folder: Path, tmp_path: Path, ending: str
) -> None:
    results = tmp_path / f"results.{ending}"
    run("classify", folder, "--out", results, "--bundle", familiar.root)
    summary = summary_of(familiar, results, HAL_SITE_FPR="0.002")
    told = [line for line in results.read_text().splitlines() if "unfamiliar_image" in line]
    assert summary["unfamiliar"]["unfamiliar"] == len(told) > 1
    assert summary["advice"] == "not supported on these images"
    shown = run("slides", "summary", results, "--bundle", familiar.root).stdout
    assert f"{len(told)} unfamiliar images" in shown


def test_saved_answers_are_one_slide_and_read_as_the_service_reads_them(
    bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    images = sorted(folder.iterdir())
    files = []
    with serving(bundle, site_fpr=0.002) as live:
        for number in range(0, len(images), 10):
            form = [("file", (path.name, path.read_bytes())) for path in images[number : number + 10]]
            files.append(tmp_path / f"{number}.json")
            files[-1].write_bytes(live.http.post("/classify", files=form).content)
        whole = [("file", (path.name, path.read_bytes())) for path in images]
        expected = live.http.post("/slides/classify", files=whole).json()["summary"]
    assert summary_of(bundle, *files, HAL_SITE_FPR="0.002") == expected


def test_people_read_a_table_with_the_advice(bundle: Bundle, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    line = json.dumps({"class_id": "lymphocyte", "hairy_cell": {"flag": False}})
    results.write_text((line + "\n") * 30, encoding="utf-8")
    told = run("slides", "summary", results, "--bundle", bundle.root, "--site-fpr", 0.01)
    assert told.exit_code == 0
    assert "30 images, 30 white cells" in told.stdout
    assert "Lymphocyte" in told.stdout
    assert "TOO FEW CELLS: 0 of 30 white cells flagged as hairy" in told.stdout
    assert "for research use" in told.stdout


def test_fhir_goes_to_a_file(bundle: Bundle, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    results.write_text(json.dumps({"class_id": "lymphocyte", "hairy_cell": {"flag": False}}), encoding="utf-8")
    out = tmp_path / "report.json"
    told = run("slides", "summary", results, "--bundle", bundle.root, "--format", "fhir", "--out", out)
    assert (told.exit_code, told.stdout) == (0, "")
    FhirBundle.model_validate_json(out.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("missing.jsonl", None, "cannot be read"),
        ("a.json", "{", "not JSON"),
        ("a.jsonl", '{"class_id": "lymphocyte"}\nnonsense\n', "line 2: not JSON"),
        ("a.jsonl", "[1, 2]", "neither a result nor an answer"),
        ("a.csv", "file,class\nx,y\n", "no column class_id, only file, class"),
        ("a.csv", "class_id,hairy_flag\nlymphocyte,maybe\n", "hairy_flag is 'maybe'"),
        ("a.csv", "class_id,unfamiliar\nlymphocyte,maybe\n", "unfamiliar is 'maybe'"),
        ("a.csv", "class_id,hairy_flag\nlymphozyt,false\n", "'lymphozyt' is none of"),
        (
            "a.jsonl",
            json.dumps({"model": {"sha256": "f" * 64}, "results": [{"error": "x"}]}),
            "which is not",
        ),
        (
            "a.jsonl",
            "\n".join(json.dumps({"model": {"sha256": c * 64}, "results": [{"error": "x"}]}) for c in "ab"),
            "come from 2 models",
        ),
        (
            "a.csv",
            "class_id,hairy_flag,hairy_threshold\nlymphocyte,false,0.5\nlymphocyte,false,0.25\n",
            "flagged at the thresholds 0.25, 0.5",
        ),
    ],
)
def test_what_cannot_be_read_is_named(
    bundle: Bundle, tmp_path: Path, name: str, content: str | None, expected: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content, encoding="utf-8")
    told = run("slides", "summary", path, "--bundle", bundle.root)
    assert told.exit_code == 1
    assert expected in told.stderr
    assert "Traceback" not in told.stderr
