"""An actor, in this process."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from typer.testing import CliRunner

pytest.importorskip("fsspec", reason="the extra 'score' is not installed")

import hal
from contract.bundle import Bundle
from service.environment import load_settings
from service.jobs.score.actor import Actor, Job, files_of
from service.settings import Settings

Hire = Callable[[Job], Actor]


@pytest.fixture
def hire() -> Iterator[Hire]:
    with contextlib.ExitStack() as stack:
        yield lambda job: stack.enter_context(contextlib.closing(Actor(job)))


@pytest.fixture
def settings(bundle: Bundle) -> Settings:
    return load_settings({"bundle": bundle.root, "engine_threads": 1})


def ask(actor: Actor, paths: list[Path]) -> dict[str, Any]:
    row = {"chunk": [7, 70, 70 + len(paths)], "paths": [os.fsencode(path) for path in paths]}
    table = actor(pyarrow.Table.from_pylist([row]))
    answer: dict[str, Any] = json.loads(table["answers"][0].as_py())
    return answer


def test_the_records_are_those_of_hal_classify(
    hire: Hire, archive: Path, bundle: Bundle, settings: Settings, tmp_path: Path
) -> None:
    paths = [*sorted(archive.iterdir()), archive / "nowhere.png", archive]
    answer = ask(hire(Job(settings, bundle.root, None)), paths)
    assert answer["chunk"] == [7, 70, 93]
    assert answer["fault"] is None
    found = CliRunner().invoke(
        hal.app,
        ["classify", str(archive), "--out", str(tmp_path / "r.jsonl")],
        env={"HAL_BUNDLE": str(bundle.root), "HAL_ENGINE_THREADS": "1"},
    )
    assert found.exit_code == 2, found.output
    classified = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert answer["records"][:-2] == classified
    assert [record["error"]["code"] for record in answer["records"][-2:]] == ["unreadable_file"] * 2


def test_a_bundle_that_was_sent_serves_as_one_on_disk(
    hire: Hire, archive: Path, familiar: Bundle, settings: Settings
) -> None:
    paths = sorted(archive.iterdir())
    here = ask(hire(Job(settings, familiar.root, None)), paths)
    sent = ask(hire(Job(settings, files_of(familiar), None)), paths)
    assert here["records"][0]["novelty"] is not None
    assert sent == here


def test_an_actor_that_cannot_work_says_why(hire: Hire, archive: Path, settings: Settings, tmp_path: Path) -> None:
    answer = ask(hire(Job(settings, tmp_path / "nowhere", None)), [archive / "00.png"])
    assert answer["records"] is None
    assert "no bundle.json in" in answer["fault"]
