"""``hal classify``: folders of images to a file of results."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from click.testing import Result
from typer.testing import CliRunner

import hal
from contract import bundle as bundles
from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from service.folders.records import COLUMNS
from tests.client.faulty_road import FaultyRoad
from tests.service.live_server import LiveServer, serving, until
from tests.service.process import environment
from tests.service.tiny_bundle import TinyNetwork, encoded

FORMATS = ["jsonl", "csv", "parquet"]
Classify = Callable[..., Result]


@pytest.fixture
def classify(bundle: Bundle) -> Classify:
    def run(*arguments: object, **variables: str) -> Result:
        given = {"HAL_BUNDLE": str(bundle.root), "HAL_ENGINE_THREADS": "1", "COLUMNS": "200"}
        return CliRunner().invoke(hal.app, ["classify", *map(str, arguments)], env=given | variables)

    return run


@pytest.fixture
def folder(tmp_path: Path, network: TinyNetwork) -> Path:
    """Twenty cells, one of each class, in two folders, with files beside them that are no images."""
    for index, name in enumerate(CLASS_NAMES):
        path = tmp_path / "smear" / f"slide {index % 2}" / f"{index:02d}.{'PNG' if index % 3 else 'bmp'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(network.cell(index), "PNG" if index % 3 else "BMP"))
        assert name
    (tmp_path / "smear" / "notes.txt").write_text("no image")
    (tmp_path / "smear" / "._00.png").write_bytes(b"macOS")
    return tmp_path / "smear"


@pytest.fixture(scope="module")
def live(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle) as server:
        yield server


def rows(path: Path) -> list[dict[str, Any]]:
    """The file's rows, by another reader than the writer's own."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="") as stream:
            return list(csv.DictReader(stream))
    table: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    return table


def class_of(row: dict[str, Any]) -> str | None:
    return row.get("predicted_class") or None


def test_without_out_a_table_is_shown(classify: Classify, folder: Path) -> None:
    found = classify(folder)
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert lines[0].split() == ["Image", "Class", "Probability", "Hairy", "cell", "Review"]
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
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_tables_are_flat_and_typed(classify: Classify, folder: Path, tmp_path: Path, bundle: Bundle) -> None:
    classify(folder, "--out", tmp_path / "r.csv")
    classify(folder, "--out", tmp_path / "r.parquet")
    plain, typed = rows(tmp_path / "r.csv"), rows(tmp_path / "r.parquet")
    assert list(plain[0]) == list(typed[0]) == list(COLUMNS)
    hairy = next(row for row in typed if row["predicted_class"] == "Hairy cell")
    assert hairy["hairy_flag"] is True
    assert "hairy_cell" in hairy["review"].split(";")
    assert hairy["probability"] == hairy["p_hairy_cell"] == hairy["hairy_probability"]
    assert hairy["model_sha256"] == bundle.file().sha256
    for row, other in zip(plain, typed, strict=True):
        for name, kind in COLUMNS.items():
            expected = "" if other[name] is None else str(other[name]).lower() if kind is bool else str(other[name])
            assert row[name] == expected, name


def test_a_line_is_the_service_s_result_with_path_and_model(
    classify: Classify, folder: Path, tmp_path: Path, live: LiveServer
) -> None:
    classify(folder, "--out", tmp_path / "r.jsonl")
    for record in rows(tmp_path / "r.jsonl"):
        answer = live.http.post("/classify", files={"file": Path(record.pop("path")).read_bytes()}).json()
        assert record.pop("model").items() <= answer["model"].items()
        assert set(record.pop("file")) == {"bytes", "mtime_ns"}
        assert record == {name: value for name, value in answer["results"][0].items() if name != "index"}


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


@pytest.mark.parametrize("kind", FORMATS)
def test_a_second_run_does_only_what_is_new_changed_or_was_refused(
    classify: Classify, folder: Path, tmp_path: Path, network: TinyNetwork, kind: str
) -> None:
    out = tmp_path / f"r.{kind}"
    (folder / "late.png").write_bytes(encoded(network.cell(3))[:-100])
    assert classify(folder, "--out", out).exit_code == 2
    before = out.read_bytes()
    (folder / "late.png").write_bytes(encoded(network.cell(3)))
    (folder / "new.png").write_bytes(encoded(network.cell(4)))
    (folder / "slide 0" / "02.PNG").write_bytes(encoded(network.cell(7)))
    os.utime(folder / "slide 0" / "04.PNG", ns=(1, 1))
    found = classify(folder, "--out", out)
    assert found.exit_code == 0, found.output
    assert "3 classified, 19 were there already, 0 refused" in found.stderr
    by_name = {Path(row["path"]).name: class_of(row) for row in rows(out)}
    assert len(by_name) == len(rows(out)) == 22
    assert [by_name[name] for name in ("late.png", "new.png", "02.PNG")] == [CLASS_NAMES[i] for i in (3, 4, 7)]
    assert before != out.read_bytes()


def test_a_run_with_nothing_to_do_needs_no_service_and_changes_nothing(
    classify: Classify, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.csv"
    classify(folder, "--out", out)
    before = (out.read_bytes(), out.stat().st_mtime_ns)
    found = classify(folder, "--out", out, "--url", "http://127.0.0.1:9")
    assert found.exit_code == 0, found.output
    assert "0 classified, 20 were there already" in found.stderr
    assert (out.read_bytes(), out.stat().st_mtime_ns) == before


def test_another_folder_is_added(classify: Classify, folder: Path, tmp_path: Path) -> None:
    classify(folder / "slide 0", "--out", tmp_path / "r.jsonl")
    classify(folder / "slide 1", "--out", tmp_path / "r.jsonl")
    assert len(rows(tmp_path / "r.jsonl")) == 20


@pytest.mark.parametrize("kind", FORMATS)
def test_killed_in_the_middle_and_run_again_gives_the_file_of_an_uninterrupted_run(
    classify: Classify, folder: Path, tmp_path: Path, bundle: Bundle, kind: str
) -> None:
    """A pipe in the place of an image holds the run up in the middle until it is killed."""
    out, whole = tmp_path / f"r.{kind}", tmp_path / f"whole.{kind}"
    held_up = folder / "slide 1" / "01.PNG"
    image = held_up.read_bytes()
    held_up.unlink()
    os.mkfifo(held_up)
    arguments = [sys.executable, "-m", "hal", "classify", str(folder), "--out", str(out), "--max-batch", "1"]
    process = subprocess.Popen(arguments, env=environment(HAL_BUNDLE=str(bundle.root)), stderr=subprocess.PIPE)
    journal = tmp_path / f"r.{kind}.part"
    try:
        until(lambda: journal.exists() and journal.read_bytes().count(b"\n") == 8)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert not out.exists()
    with journal.open("a") as stream:
        stream.write('{"path": "cut o')
    held_up.unlink()
    held_up.write_bytes(image)
    found = classify(folder, "--out", out)
    assert found.exit_code == 0, found.output
    assert "12 classified, 8 were there already" in found.stderr
    assert classify(folder, "--out", whole).exit_code == 0
    assert rows(out) == rows(whole)
    assert [row["path"] for row in rows(out)] == sorted(row["path"] for row in rows(out))
    assert not journal.exists()


def test_killed_between_the_file_and_its_journal_doubles_nothing(
    classify: Classify, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.jsonl"
    classify(folder, "--out", out)
    shutil.copy(out, tmp_path / "r.jsonl.part")
    (folder / "slide 0" / "02.PNG").unlink()
    assert classify(folder, "--out", out).exit_code == 0
    assert len(rows(out)) == 20


@pytest.fixture
def other(bundle: Bundle, tmp_path: Path) -> Bundle:
    """The same network with another calibration."""
    root = shutil.copytree(bundle.root, tmp_path / "other")
    calibration = bundle.manifest.calibration.model_copy(update={"id": "t-2"})
    return bundles.write(root, bundle.manifest.model_copy(update={"calibration": calibration}))


@pytest.mark.parametrize("kind", FORMATS)
def test_results_of_another_model_are_not_mixed(
    classify: Classify, folder: Path, tmp_path: Path, other: Bundle, kind: str
) -> None:
    out = tmp_path / f"r.{kind}"
    classify(folder / "slide 0", "--out", out)
    before = out.read_bytes()
    found = classify(folder, "--out", out, HAL_BUNDLE=str(other.root))
    assert found.exit_code == 1
    assert "calibration t-1 there, t-2 now" in found.stderr
    assert "choose another --out" in found.stderr
    assert out.read_bytes() == before


def test_a_model_that_changes_on_the_way_ends_the_work_and_keeps_what_is_done(
    classify: Classify, folder: Path, tmp_path: Path, bundle: Bundle, other: Bundle, road: FaultyRoad
) -> None:
    out = tmp_path / "r.jsonl"
    with serving(bundle) as first:
        road.upstream = first.port
        assert classify(folder / "slide 0", "--out", out, "--url", road.url).exit_code == 0
    with serving(other) as second:
        road.upstream = second.port
        found = classify(folder, "--out", out, "--url", road.url)
    assert found.exit_code == 1
    assert "made with another model" in found.stderr
    assert len(rows(out)) == 10


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


@pytest.mark.parametrize(("name", "text"), [("r.csv", "a,b\n1,2\n"), ("r.jsonl", "{}\n"), ("r.parquet", "nothing")])
def test_a_file_that_is_not_ours_is_left_alone(
    classify: Classify, folder: Path, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    found = classify(folder, "--out", tmp_path / name)
    assert found.exit_code == 1
    assert "was not written by this version of 'hal classify'" in found.stderr
    assert (tmp_path / name).read_text() == text


def test_two_runs_never_write_the_same_file(classify: Classify, folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "held-up.png")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(classify, folder, "--out", tmp_path / "r.csv")
        until((tmp_path / "r.csv.part").exists)
        found = classify(folder, "--out", tmp_path / "r.csv")
        assert found.exit_code == 1
        assert "another 'hal classify' is writing" in found.stderr
        with (folder / "held-up.png").open("wb"):
            pass
        assert first.result().exit_code == 2, "a pipe that is closed is an empty image"


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
