"""Shards: what is kept, what is refused, and what becomes of images that kill their worker."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

pytest.importorskip("fsspec", reason="the extra 'score' is not installed")

from contract.bundle import Bundle
from service.jobs.folders.sources import refusal
from service.jobs.score.errors import OtherRunError, ScoreError
from service.jobs.score.pieces import Answer, Piece
from service.jobs.score.run import Summary, look, score_shards
from service.jobs.score.store import Store
from tests.service.jobs.score.conftest import plan_of

PATHS = [f"/archive/{index:02d}.png" for index in range(23)]


def record(path: str, **result: Any) -> dict[str, Any]:
    return {"path": path, **result, "file": {"bytes": 1, "mtime_ns": 2}, "model": None}


def refused(path: str) -> dict[str, Any]:
    return record(path, **refusal("unreadable_file", "The file cannot be read."))


class Workers:
    """Refuse every image, the last pieces first, and die of some."""

    def __init__(self, deadly: Sequence[str] = ()) -> None:
        self.deadly = set(deadly)
        self.given: list[tuple[list[Piece], bool]] = []

    def __call__(self, pieces: Sequence[Piece], *, alone: bool) -> Iterator[Answer]:
        self.given.append((list(pieces), alone))
        for piece in reversed(pieces):
            paths = PATHS[piece.start : piece.stop]
            dies = not self.deadly.isdisjoint(paths)
            yield Answer(piece, None if dies else [refused(path) for path in paths], "worker", 3 if dies else 1)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "scores"


def store_of(out: Path, bundle: Bundle, paths: Sequence[str] = PATHS, **plan: Any) -> Store:
    return Store(out, plan_of(bundle, paths, **plan))


def score(workers: Workers, store: Store, *, piece_size: int = 2, again: bool = False) -> Summary:
    summary, todo = look(store, again=again)
    score_shards(workers, store, PATHS, todo, piece_size=piece_size, summary=summary, see=lambda _: None)
    return summary


def paths_in(out: Path, kind: str = "parquet") -> list[str]:
    files = sorted((out / "results").iterdir())
    assert all(file.suffix == f".{kind}" for file in files)
    return [row for file in files for row in pyarrow.parquet.read_table(file)["path"].to_pylist()]


def codes(out: Path) -> dict[str, str]:
    table = pyarrow.parquet.read_table(out / "results")
    return dict(zip(table["path"].to_pylist(), table["error_code"].to_pylist(), strict=True))


def test_pieces_that_come_in_any_order_become_shards_in_the_order_of_the_list(out: Path, bundle: Bundle) -> None:
    with store_of(out, bundle) as store:
        summary = score(Workers(), store)
    assert paths_in(out) == PATHS
    assert [path.name for path in sorted((out / "results").iterdir())] == [f"0000{n}.parquet" for n in range(5)]
    assert summary.refused == {"unreadable_file": 23}


def test_only_missing_shards_are_scored(out: Path, bundle: Bundle) -> None:
    with store_of(out, bundle) as store:
        score(Workers(), store)
        store.path(1).unlink()
        (out / "results" / "00003.parquet.tmp").write_text("half")
    workers = Workers()
    with store_of(out, bundle) as store:
        summary = score(workers, store, piece_size=100)
    assert workers.given == [([Piece(1, 5, 10)], False)]
    assert paths_in(out) == PATHS, "and what a killed run left half written is gone"
    assert summary.refused == {"unreadable_file": 23}, "the summary is of all results"


def test_a_run_that_ends_in_the_middle_keeps_complete_shards(out: Path, bundle: Bundle) -> None:
    class Interrupted(Workers):
        def __call__(self, pieces: Sequence[Piece], *, alone: bool) -> Iterator[Answer]:
            answers = super().__call__(pieces, alone=alone)
            yield from (next(answers) for _ in range(3))
            raise KeyboardInterrupt

    with store_of(out, bundle) as store, pytest.raises(KeyboardInterrupt):
        score(Interrupted(), store)
    assert paths_in(out) == PATHS[20:]


def test_an_image_that_kills_its_worker_is_found_and_its_neighbours_are_scored(out: Path, bundle: Bundle) -> None:
    workers = Workers(deadly=[PATHS[3], PATHS[17], PATHS[18]])
    with store_of(out, bundle, shard_size=10) as store:
        summary = score(workers, store, piece_size=10)
    found = codes(out)
    assert list(found) == PATHS
    assert [path for path, code in found.items() if code == "worker_died"] == [PATHS[3], PATHS[17], PATHS[18]]
    assert summary.refused == {"unreadable_file": 20, "worker_died": 3}
    assert [alone for _, alone in workers.given] == [False, True, True], "by halving, no two at once in a worker"
    assert summary.tried_again == 2 * (2 + 3 + 3)


def test_workers_that_die_whatever_they_are_given_end_the_run(out: Path, bundle: Bundle) -> None:
    with store_of(out, bundle) as store, pytest.raises(ScoreError, match="every worker died"):
        score(Workers(deadly=PATHS), store)
    assert not list((out / "results").iterdir()), "no image is blamed"


def test_shards_with_refused_images_are_scored_again_if_that_is_asked_for(out: Path, bundle: Bundle) -> None:
    with store_of(out, bundle, format="jsonl") as store:
        score(Workers(), store)
        answered = {
            "image_sha256": "0",
            "predicted_class": "Monocyte",
            "probabilities": {},
            "hairy_cell": {"flag": None},
            "review": [],
        }
        store.write(1, [record(PATHS[place], **answered) for place in store.images(1)])
        workers = Workers()
        summary = score(workers, store, again=True, piece_size=100)
    assert [piece.shard for piece in workers.given[0][0]] == [0, 2, 3, 4]
    assert summary.tally.skipped == 5
    assert summary.hairy == {None: 5}
    assert summary.document()["images"] == 23


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_damaged_file_is_told_and_never_counted(out: Path, bundle: Bundle, kind: str) -> None:
    with store_of(out, bundle, format=kind) as store:
        score(Workers(), store)
        data = store.path(2).read_bytes()
        store.path(2).write_bytes(data[: len(data) // 2])
        with pytest.raises(ScoreError, match=rf"00002\.{kind} (is damaged|has \d images).*remove it and run again"):
            look(store, again=False)


def test_another_list_setting_or_bundle_is_refused(out: Path, bundle: Bundle) -> None:
    store_of(out, bundle).__exit__(None, None, None)
    with pytest.raises(OtherRunError, match=r"number of images 23 there, 24 now\n.*list of images") as error:
        store_of(out, bundle, [*PATHS, "/archive/new.png"], shard_size=7)
    assert "--shard-size 5 there, 7 now" in str(error.value), "all differences at once"
    with pytest.raises(OtherRunError, match="--format parquet there, csv now"):
        store_of(out, bundle, format="csv")
    calibration = bundle.description.calibration.model_copy(update={"id": "t-2"})
    other = Bundle(bundle.root, bundle.description.model_copy(update={"calibration": calibration}))
    with pytest.raises(OtherRunError, match="model calibration t-1 there, t-2 now"):
        store_of(out, other)


def test_relative_paths_belong_to_their_working_directory(
    out: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.getcwd()  # noqa: PTH109
    store_of(out, bundle, ["cell.png"]).__exit__(None, None, None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OtherRunError, match=f"working directory.* {before} there, {tmp_path} now"):
        store_of(out, bundle, ["cell.png"])


def test_two_runs_never_write_the_same_folder(out: Path, bundle: Bundle) -> None:
    with store_of(out, bundle), pytest.raises(ScoreError, match="another 'hal score' is writing"):
        store_of(out, bundle)


def test_a_folder_that_is_not_ours_is_left_alone(out: Path, bundle: Bundle) -> None:
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    with pytest.raises(ScoreError, match="has files that are not of 'hal score'"):
        store_of(out, bundle)
    assert [path.name for path in out.iterdir()] == ["letter.txt"]
    with pytest.raises(ScoreError, match="is a file"):
        store_of(out / "letter.txt", bundle)
    (out / "letter.txt").rename(out / "run.json")
    with pytest.raises(ScoreError, match="was not written by this version"):
        store_of(out, bundle)
