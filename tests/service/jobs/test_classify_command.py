"""``hal classify``: folders of images to a file of results."""

import os
from pathlib import Path

import pytest

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from service.jobs.records import COLUMNS
from tests.client.faulty_road import FaultyRoad
from tests.service.jobs.result_files import FORMATS, Classify, class_of, rows
from tests.service.live_server import LiveServer
from tests.service.tiny_bundle import TinyNetwork, encoded


def test_without_out_a_table_is_shown(classify: Classify, folder: Path) -> None:
    found = classify(folder)
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert lines[0].split() == ["Image", "Class", "Confidence", "Hairy", "cell", "Review"]
    assert "11.PNG" in lines[1], "hairy cells come first"
    assert "POSSIBLE" in lines[1]
    assert len([line for line in lines if line.startswith(str(folder)[:20])]) == 20
    assert "20/20 images" in found.stderr
    assert "images/s" in found.stderr
    assert "20 classified, 0 refused" in found.stderr


@pytest.mark.parametrize("kind", FORMATS)
def test_every_image_below_a_folder_is_a_row(classify: Classify, folder: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "new" / f"results.{kind}"
    found = classify(folder, "--out", out)
    assert found.exit_code == 0, found.output
    by_path = {Path(row["path"]).stem: row for row in rows(out)}
    assert [class_of(by_path[f"{index:02d}"]) for index in range(20)] == list(CLASS_NAMES)
    assert sorted(path.name for path in out.parent.iterdir()) == [out.name, f"{out.name}.journal"]


def test_tables_are_flat_and_typed(classify: Classify, folder: Path, tmp_path: Path, bundle: Bundle) -> None:
    classify(folder, "--out", tmp_path / "r.csv")
    classify(folder, "--out", tmp_path / "r.parquet")
    plain, typed = rows(tmp_path / "r.csv"), rows(tmp_path / "r.parquet")
    assert list(plain[0]) == list(typed[0]) == list(COLUMNS)
    hairy = next(row for row in typed if row["class_name"] == "Hairy cell")
    assert hairy["hairy_flag"] is True
    assert "hairy_cell" in hairy["review"].split(";")
    assert hairy["confidence"] == hairy["p_hairy-cell"] == hairy["hairy_probability"]
    assert hairy["model_sha256"] == bundle.file().sha256
    for row, other in zip(plain, typed, strict=True):
        for name, kind in COLUMNS.items():
            expected = "" if other[name] is None else str(other[name]).lower() if kind is bool else str(other[name])
            assert row[name] == expected, name


def test_no_path_is_a_formula_in_a_spreadsheet_and_each_still_leads_to_its_file(
    classify: Classify, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    names = ['=HYPERLINK("x").png', "+1.png", "-2.png", "@a.png", "\tb.png"]
    images = sorted(path for path in folder.rglob("*") if path.is_file())
    for name, image in zip(names, images, strict=False):
        image.rename(folder / name)
    classify(Path(), "--out", tmp_path / "r.csv")
    paths = [row["path"] for row in rows(tmp_path / "r.csv")]
    assert not [path for path in paths if path[0] in "=+-@\t"]
    assert {Path(path) for path in paths} == {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_a_line_is_the_service_s_result_with_path_and_model(
    classify: Classify, folder: Path, tmp_path: Path, live: LiveServer
) -> None:
    classify(folder, "--out", tmp_path / "r.jsonl")
    for record in rows(tmp_path / "r.jsonl"):
        answer = live.http.post("/classify", files={"file": Path(record.pop("path")).read_bytes()}).json()
        assert record.pop("model").items() <= answer["model"].items()
        assert set(record.pop("file")) == {"bytes", "mtime_ns"}
        assert record.pop("hairy_threshold") == answer["hairy_cell"]["threshold"]
        assert record == {
            name: value for name, value in answer["results"][0].items() if name not in ("index", "client_ref")
        }


@pytest.mark.parametrize("kind", FORMATS)
def test_a_service_gives_the_same_file_as_this_process(
    classify: Classify, folder: Path, tmp_path: Path, live: LiveServer, kind: str
) -> None:
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    here, there = tmp_path / f"here.{kind}", tmp_path / f"there.{kind}"
    assert classify(folder, "--out", here).exit_code == 2
    found = classify(folder, "--out", there, "--url", live.url, "--images-per-request", 3, HAL_BUNDLE="/nowhere")
    assert found.exit_code == 2, found.output
    assert there.read_bytes() == here.read_bytes()


@pytest.mark.parametrize("kind", FORMATS)
def test_bad_files_are_rows_and_are_listed_at_the_end(
    classify: Classify, folder: Path, tmp_path: Path, kind: str
) -> None:
    (folder / "empty.png").write_bytes(b"")
    (folder / "lost.jpg").symlink_to(folder / "nowhere")
    found = classify(folder, "--out", tmp_path / f"r.{kind}")
    assert found.exit_code == 2, found.output
    *_, first, second = found.stderr.splitlines()
    assert "empty.png: The image has 0 bytes" in first
    assert "lost.jpg: The file cannot be read: No such file" in second
    assert "20 classified, 2 refused" in found.stderr
    bad = [row for row in rows(tmp_path / f"r.{kind}") if class_of(row) is None]
    codes = [row["error"]["code"] if kind == "jsonl" else row["error_code"] for row in bad]
    assert codes == ["empty_image", "unreadable_file"]


def test_bad_files_are_in_the_table_too(classify: Classify, folder: Path) -> None:
    (folder / "empty.png").write_bytes(b"")
    found = classify(folder / "empty.png", folder / "slide 0" / "00.bmp")
    assert found.exit_code == 2
    assert "refused" in found.stdout
    assert "empty_image" in found.stdout


def test_the_key_comes_from_a_file_or_the_environment(
    classify: Classify, folder: Path, tmp_path: Path, live: LiveServer, road: FaultyRoad
) -> None:
    road.upstream = live.port
    (tmp_path / "key").write_text("from-file\n")
    classify(folder, "--url", road.url, "--api-key-file", tmp_path / "key")
    classify(folder, "--url", road.url, HAL_API_KEY="from-environment")
    head = bytes(road.received).lower()
    assert b"authorization: bearer from-file\r\n" in head
    assert b"authorization: bearer from-environment\r\n" in head
    assert b"x-priority: bulk\r\n" in head


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-such-option"], "No such option"),
        (["nowhere"], "there is no nowhere"),
        (["SMEAR", "--out", "results.xlsx"], "expected a name that ends in .jsonl, .csv, .parquet"),
        (["SMEAR", "--url", "127.0.0.1:8000"], "is not the address of a service"),
        (["SMEAR", "--url", "http://127.0.0.1:9"], "no service is ready at http://127.0.0.1:9"),
        (["SMEAR", "--url", "http://127.0.0.1:9", "--bundle", "b", "--max-batch", "3"], "--bundle, --max-batch cannot"),
        (["SMEAR", "--bundle", "nowhere"], "no bundle.json in nowhere"),
        (["SMEAR", "--device", "gpu"], "HAL_DEVICE='gpu'"),
        (["SMEAR", "--precision", "int8"], "has no int8 file"),
        (["SMEAR", "--url", "http://127.0.0.1:9", "--api-key-file", "nowhere"], "nowhere cannot be read"),
        (["EMPTY"], "no image in"),
        ([], "Usage:"),
    ],
)  # fmt: skip
def test_wrong_usage_ends_with_1_and_a_message(
    classify: Classify, folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    given = [{"SMEAR": str(folder), "EMPTY": str(tmp_path / "empty")}.get(text, text) for text in arguments]
    found = classify(*given)
    assert found.exit_code == 1, found.output
    assert message in found.output
    assert "Traceback" not in found.output


def test_paths_that_are_not_utf_8_survive(classify: Classify, tmp_path: Path, network: TinyNetwork) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    name = os.fsdecode(b'cell\xff,\n".png')
    try:
        (odd / name).write_bytes(encoded(network.cell(2)))
    except OSError:
        pytest.skip("the file system wants UTF-8")
    for kind in ("jsonl", "csv"):
        assert classify(odd, "--out", tmp_path / f"r.{kind}").exit_code == 0
        assert "1 were there already" in classify(odd, "--out", tmp_path / f"r.{kind}").stderr
    assert classify(odd, "--out", tmp_path / "r.parquet").exit_code == 0
    assert rows(tmp_path / "r.parquet")[0]["path"].endswith('cell\\xff,\n".png')
    assert classify(odd).exit_code == 0
