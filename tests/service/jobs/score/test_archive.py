"""Which images an archive has, and their bytes."""

import csv
import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

pytest.importorskip("fsspec", reason="the extra 'score' is not installed")

from service.jobs.exit_codes import JobError
from service.jobs.files import ImageFile
from service.jobs.score.archive import find, read_all


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images in two folders, and what is not an image."""
    for name in ("b/2.png", "b/10.JPG", "a/cells/1.tif", "a/.hidden.png", "a/.cache/1.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"image")
    return tmp_path


ALL = ["a/cells/1.tif", "b/10.JPG", "b/2.png"]


def names(found: list[str], folder: Path) -> list[str]:
    return [path.removeprefix("file://").removeprefix(f"{folder}/") for path in found]


def of_rows(folder: Path, kind: str, rows: list[str]) -> Path:
    path = folder / f"list.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.table({"label": ["x"] * len(rows), "path": rows}), path)
    else:
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerows([("label", "path"), *(("x", row) for row in rows)])
    return path


@pytest.mark.parametrize(
    "ways",
    [
        ["."],
        ["b", "a"],
        ["b", "a", "b/2.png", "."],
        ["*"],
        ["**/*.png", "b/*.JPG", "a/*/*.tif"],
        ["file://."],
        ["file://b", "file://a"],
        ["file://*/*.JPG", "file://b/2.png", "file://a/cells"],
    ],
)
def test_each_way_of_naming_an_archive_gives_the_same_sorted_list(folder: Path, ways: list[str]) -> None:
    arguments = [
        f"file://{folder / way.removeprefix('file://')}" if way.startswith("file://") else str(folder / way)
        for way in ways
    ]
    assert names(find(arguments)[0], folder) == ALL


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_list_names_images_relative_to_itself_absolute_or_by_url(folder: Path, kind: str) -> None:
    rows = ["b/2.png", str(folder / "b/10.JPG"), "s3://lab/cell.png", "b/2.png", "not/there.png"]
    found, _ = find([str(of_rows(folder, kind, rows))])
    assert found == sorted([f"{folder}/b/2.png", f"{folder}/b/10.JPG", "s3://lab/cell.png", f"{folder}/not/there.png"])


def test_a_name_with_the_signs_of_a_pattern_is_a_name_first(folder: Path) -> None:
    (folder / "cell[1].png").write_bytes(b"image")
    assert names(find([str(folder / "cell[1].png")])[0], folder) == ["cell[1].png"]


def test_all_that_is_not_there_is_told_at_once(folder: Path) -> None:
    with pytest.raises(JobError, match=r"there is no nowhere, no no/\*/pattern, no file:///nowhere, no no\.csv"):
        find(["nowhere", str(folder), "no/*/pattern", "file:///nowhere", "no.csv"])


def test_a_folder_without_images_is_told(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"expected files that end in \.bmp"):
        find([str(tmp_path)])


def test_a_storage_that_is_not_known_is_told() -> None:
    with pytest.raises(JobError, match=r"tape://archive cannot be read: .*tape"):
        find(["tape://archive"])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_text("file,label\n1.png,x\n"), "with a column 'path'"),
        (lambda path: path.write_bytes(b"path\n\xff.png\n"), "UTF-8"),
        (lambda path: path.write_text('path,label\n"",x\n1.png,y\n'), "1 of 2 rows have no path"),
    ],
)
def test_a_list_that_is_not_one_is_told(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    write(tmp_path / "list.csv")
    with pytest.raises(JobError, match=message):
        find([str(tmp_path / "list.csv")])


@pytest.fixture
def website(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_bytes_come_in_order_from_disk_and_from_behind_urls(folder: Path, website: str) -> None:
    pytest.importorskip("aiohttp", reason="fsspec needs it for HTTP")
    (folder / "b/2.png").write_bytes(b"another")
    paths = [f"{website}/b/2.png", str(folder / "b/10.JPG"), f"{website}/nowhere.png", "nowhere", "tape://cell.png"]
    found = read_all([ImageFile(path, -1, 0) for path in paths], 100)
    assert found[:2] == [b"another", b"image"]
    refused = [one["error"] for one in found[2:] if isinstance(one, dict)]
    assert [one["code"] for one in refused] == ["unreadable_file"] * 3
    assert "No such file" in refused[1]["message"]
    assert "tape" in refused[2]["message"]


def test_what_is_left_out_of_a_folder_is_told(folder: Path) -> None:
    (folder / "b" / "cell.webp").write_bytes(b"RIFF")
    os.mkfifo(folder / "b" / "pipe.jpg")
    found, here = find([str(folder), str(folder / "b")])
    assert names(found, folder) == ALL
    assert [path.name for path, _ in here.problems] == ["cell.webp", "pipe.jpg"]
