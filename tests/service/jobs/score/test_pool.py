"""What becomes of images that kill their actor; the actors themselves are in ``test_score_command.py``."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

pytest.importorskip("ray", reason="the extra 'score' is not installed")

from service.jobs.exit_codes import JobError
from service.jobs.score import pool
from service.jobs.score.pool import Chunk, Scored

PATHS = [f"/archive/{index:02d}.png" for index in range(23)]
WHOLE = [Chunk(0, 0, 10), Chunk(1, 10, 20), Chunk(2, 20, 23)]


class Rounds:
    """Score every image, the last chunks first, but give up chunks with some of them."""

    def __init__(self, deadly: Sequence[str] = ()) -> None:
        self.deadly = set(deadly)
        self.at_once: list[int] = []

    def __call__(
        self, _: Any, __: Any, paths: Sequence[str], chunks: Sequence[Chunk], at_once: int
    ) -> Iterator[Scored]:
        self.at_once.append(at_once)
        for chunk in reversed(chunks):
            named = paths[chunk.start : chunk.stop]
            if self.deadly.isdisjoint(named):
                yield Scored(chunk, [{"path": path} for path in named], "actor")


def codes(monkeypatch: pytest.MonkeyPatch, rounds: Rounds) -> dict[str, str | None]:
    monkeypatch.setattr(pool, "_round", rounds)
    found = pool.score(None, None, PATHS, WHOLE)  # type: ignore[arg-type]
    records = [record for scored in found for record in scored.records]
    assert len(records) == len(PATHS)
    return {record["path"]: record.get("error", {}).get("code") for record in records}


def test_an_image_that_kills_its_actor_is_found_and_its_neighbours_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds(deadly=[PATHS[3], PATHS[17], PATHS[18]])
    found = codes(monkeypatch, rounds)
    assert sorted(path for path, code in found.items() if code == "worker_died") == [PATHS[3], PATHS[17], PATHS[18]]
    assert sum(code is None for code in found.values()) == 20
    assert rounds.at_once == [pool.CHUNKS_AT_ONCE, 1, 1], "no two chunks in an actor once one has died"


def test_actors_that_die_whatever_they_are_given_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JobError, match="every actor died"):
        codes(monkeypatch, Rounds(deadly=PATHS))


def test_an_archive_of_one_image_that_kills_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_round", Rounds(deadly=["x"]))
    (scored,) = pool.score(None, None, ["x"], [Chunk(0, 0, 1)])  # type: ignore[arg-type]
    assert scored.records[0]["error"]["code"] == "worker_died"
