"""Shards: what is kept, what is refused, and what is left to do."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

pytest.importorskip("fsspec", reason="the extra 'score' is not installed")

from contract.bundle import Bundle
from service.environment import load_settings
from service.jobs.exit_codes import JobError
from service.jobs.records import refusal
from service.jobs.score.store import Store, run_of

PATHS = [f"/archive/{index:02d}.png" for index in range(23)]
ANSWERED = {
    "image_sha256": "0",
    "class_id": "monocyte",
    "class_name": "Monocyte",
    "confidence": 0.9,
    "probabilities": {},
    "hairy_cell": {"flag": None},
    "review": [],
}


def record(path: str, **result: Any) -> dict[str, Any]:
    return {"path": path, **result, "file": {"bytes": 1, "mtime_ns": 2}, "model": None, "hairy_threshold": None}


def refused(path: str) -> dict[str, Any]:
    return record(path, **refusal("unreadable_file", "The file cannot be read."))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "scores"


def store_of(
    out: Path, bundle: Bundle, paths: Sequence[str] = PATHS, *, shard_size: int = 5, format: str = "parquet"
) -> Store:
    settings = load_settings({"bundle": bundle.root})
    return Store(out, run_of(settings, bundle, sorted(paths), shard_size=shard_size, format=format))


def fill(store: Store, *, chunk: int = 2) -> None:
    """Refuse every image that is left, the last chunks first."""
    for shard in reversed(store.todo(retry_refused=False)):
        images = store.images(shard)
        for start in reversed(range(images.start, images.stop, chunk)):
            stop = min(start + chunk, images.stop)
            store.add(shard, start, [refused(path) for path in PATHS[start:stop]])


def paths_in(out: Path) -> list[str]:
    files = sorted((out / "results").iterdir())
    return [row for file in files for row in pyarrow.parquet.read_table(file)["path"].to_pylist()]


def test_chunks_that_come_in_any_order_become_shards_in_the_order_of_the_list(out: Path, bundle: Bundle) -> None:
    with store_of(out, bundle) as store:
        fill(store)
        assert store.summary()["refused"] == {"unreadable_file": 23}
        assert [path for path, _ in store.refused()] == PATHS
    assert paths_in(out) == PATHS
    assert [path.name for path in sorted((out / "results").iterdir())] == [f"0000{n}.parquet" for n in range(5)]


def test_only_missing_shards_are_left_to_do(out: Path, bundle: Bundle) -> None:
    with store_of(out, bundle) as store:
        fill(store)
        store.path(1).unlink()
        (out / "results" / "00003.parquet.tmp").write_text("half")
    with store_of(out, bundle) as store:
        assert store.todo(retry_refused=False) == [1]
        fill(store)
        assert store.summary()["images"] == 23, "the summary is of all results"
    assert paths_in(out) == PATHS, "and what a killed run left half written is gone"


def test_a_shard_whose_line_a_kill_cut_off_is_done_again(out: Path, bundle: Bundle) -> None:
    with store_of(out, bundle) as store:
        fill(store)
    lines = (out / "shards.jsonl").read_bytes()
    (out / "shards.jsonl").write_bytes(lines[:-20])
    for _ in range(3):
        with store_of(out, bundle) as store:
            assert len(store.todo(retry_refused=False)) <= 1
            fill(store)
    with store_of(out, bundle) as store:
        assert store.todo(retry_refused=False) == []
        assert store.summary()["images"] == 23


def test_a_shard_that_is_incomplete_is_not_there(out: Path, bundle: Bundle) -> None:
    with store_of(out, bundle) as store:
        store.add(4, 20, [refused(path) for path in PATHS[20:22]])
        assert not list((out / "results").iterdir())
        store.add(4, 22, [refused(PATHS[22])])
        assert store.todo(retry_refused=False) == [0, 1, 2, 3]
    assert paths_in(out) == PATHS[20:]


def test_shards_with_refused_images_are_scored_again_if_that_is_asked_for(out: Path, bundle: Bundle) -> None:
    with store_of(out, bundle, format="jsonl") as store:
        store.add(1, 5, [record(path, **ANSWERED) for path in PATHS[5:10]])
        fill(store)
    with store_of(out, bundle, format="jsonl") as store:
        assert store.todo(retry_refused=True) == [0, 2, 3, 4]
        assert store.summary()["hairy_cell"] == {"flagged": 0, "not_flagged": 0, "not_answered": 5}
        fill(store)
        assert store.summary()["images"] == 23


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_damaged_file_is_told_and_never_counted(out: Path, bundle: Bundle, kind: str) -> None:
    with store_of(out, bundle, format=kind) as store:
        fill(store)
        data = store.path(2).read_bytes()
        store.path(2).write_bytes(data[: len(data) // 2])
        with pytest.raises(JobError, match=rf"00002\.{kind} is damaged.*Remove it and run again"):
            store.todo(retry_refused=False)


def test_another_list_setting_or_bundle_is_refused(out: Path, bundle: Bundle) -> None:
    store_of(out, bundle).__exit__()
    with pytest.raises(JobError, match=r"number of images 23 there, 24 now\n.*list of images") as error:
        store_of(out, bundle, [*PATHS, "/archive/new.png"], shard_size=7)
    assert "--shard-size 5 there, 7 now" in str(error.value), "all differences at once"
    with pytest.raises(JobError, match="--format parquet there, csv now"):
        store_of(out, bundle, format="csv")
    calibration = bundle.description.calibration.model_copy(update={"id": "t-2"})
    other = Bundle(bundle.root, bundle.description.model_copy(update={"calibration": calibration}))
    with pytest.raises(JobError, match="model calibration t-1 there, t-2 now"):
        store_of(out, other)


def test_relative_paths_belong_to_their_working_directory(
    out: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.getcwd()  # noqa: PTH109
    store_of(out, bundle, ["cell.png"]).__exit__()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JobError, match=f"working directory.* {before} there, {tmp_path} now"):
        store_of(out, bundle, ["cell.png"])


def test_two_runs_never_write_the_same_folder(out: Path, bundle: Bundle) -> None:
    with store_of(out, bundle), pytest.raises(JobError, match="another 'hal score' is writing"):
        store_of(out, bundle)


def test_a_folder_that_is_not_ours_is_left_alone(out: Path, bundle: Bundle) -> None:
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    with pytest.raises(JobError, match="has files that are not of 'hal score'"):
        store_of(out, bundle)
    assert [path.name for path in out.iterdir()] == ["letter.txt"]
    with pytest.raises(JobError, match="is a file"):
        store_of(out / "letter.txt", bundle)
    (out / "letter.txt").rename(out / "run.json")
    with pytest.raises(JobError, match="was not written by this version"):
        store_of(out, bundle)
