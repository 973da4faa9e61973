"""docs/train.md as a reader follows it: its commands in their order, from folders of images to an answer over HTTP.

The images are made: discs whose colour is the class. Recipes and encoder are stand-ins, so that it takes a minute.
"""

import contextlib
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

import hal
from contract import bundle
from contract.classes import HAIRY_CELL
from tests.docs.pages import Call, blocks, hal_calls, shell_lines
from tests.paths import ROOT
from tests.training import small
from training import recipe
from training.data import manifest
from training.networks import xception as networks
from training.recipe import Recipe, classifier_stage, contrastive_stages

PAGE = "docs/train.md"
CALLS = [call for line in shell_lines(PAGE) for call in hal_calls(line)]
_HEAD = {"epochs": 30, "learning_rate": 0.3, "batch_size": 8, "feature_views": 2, "decay": "cosine"}
"""Learns easy classes within a second, so that the export finds cells that are named rightly."""
STAND_INS = {
    "hal-c3003-cpu": small.RECIPE.model_copy(
        update={
            "stages": contrastive_stages(
                projection={"epochs": 1, "learning_rate": 1e-3, "batch_size": 8},
                encoder={"epochs": 1, "learning_rate": 1e-3, "batch_size": 6, "classes_per_batch": 3},
                classifier=_HEAD,
            )
        }
    ),
    "hal-t-cpu": small.TRANSFER.model_copy(
        update={
            "stages": (
                classifier_stage("top_layer", trains_encoder=False, **_HEAD | {"learning_rate": 1e-2}),
                classifier_stage("fine_tuning", trains_encoder=True, epochs=1, learning_rate=1e-3, batch_size=8),
            )
        }
    ),
}
STAND_INS["hal-c3003-mll23"] = STAND_INS["hal-c3003-cpu"]
COLOURS = {
    "hairy_cell": (40, 160, 190),
    "lymphocyte": (60, 60, 200),
    "neutrophil_segmented": (200, 80, 160),
    "lymphocyte_large_granular": (90, 200, 90),
}
OF_ONE_CLASS = 12
SAVE_FIGURE = Figure.savefig


def disc(colour: tuple[int, int, int], side: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """A cell. Shape: ``(side, side, 3)``."""
    rows, columns = np.mgrid[:side, :side]
    inside = np.hypot(rows - side / 2, columns - side / 2) < generator.uniform(30, 50)
    pixels = np.where(inside[..., None], colour, 235) + generator.normal(0, 6, (side, side, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def draw(path: Path, colour: tuple[int, int, int], side: int, generator: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(disc(colour, side, generator)).save(path)


class Walk:
    """The folder of a reader who has come so far down a page."""

    def __init__(self, folder: Path, calls: Sequence[Call]) -> None:
        self.folder = folder
        self._calls = calls
        self._shown: list[str] = []

    def draw_cells(self) -> None:
        folder = self.folder
        generator = np.random.default_rng(11)
        for name, colour in COLOURS.items():
            for number in range(OF_ONE_CLASS):
                draw(folder / "MLL23" / name / f"{number}.tif", colour, 288, generator)
        for name, label in (("Lymphocyte", "lymphocyte"), ("segmented-neutrophil", "neutrophil_segmented")):
            for number in range(OF_ONE_CLASS):
                path = folder / "our-cells" / name / f"slide{number % 6}_{number}.png"
                draw(path, COLOURS[label], 256, generator)

    def to(self, place: int) -> str:
        """Run the page's commands up to the one at ``place``; what that one wrote on the terminal."""
        while len(self._shown) <= place:
            call = self._calls[len(self._shown)]
            if call.words[:2] == ["data", "split"]:
                (program,) = blocks(PAGE, "python")
                (self.folder / "slides.py").write_text(program, encoding="utf-8")
                runpy.run_path(str(self.folder / "slides.py"))
            found = CliRunner().invoke(hal.app, call.words)
            assert found.exit_code == 0, f"hal {' '.join(call.words)}: {found.output}{found.exception!r}"
            self._shown.append(found.output)
        return self._shown[place]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    folder = tmp_path_factory.mktemp("train")
    with stand_ins(folder):
        walk = Walk(folder, CALLS)
        walk.draw_cells()
        yield walk


@contextlib.contextmanager
def stand_ins(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """Commands are run in a folder, with recipes and an encoder that take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "build_encoder", lambda _: small.encoder())
        patch.setattr(networks, "imagenet_weights", lambda given: given)
        patch.setattr(recipe, "find", stand_in)
        patch.setattr(Figure, "savefig", coarsely)
        patch.chdir(folder)
        yield patch


def coarsely(figure: Figure, path: Path, *, dpi: int, **options: Any) -> None:
    """For print a figure has 4 million pixels."""
    SAVE_FIGURE(figure, path, dpi=dpi / 6, **options)


def stand_in(name: str) -> Recipe:
    return STAND_INS[name].model_copy(update={"name": name})


def place_of(*words: str) -> int:
    (place,) = [place for place, call in enumerate(CALLS) if call.words[: len(words)] == [*words]]
    return place


@pytest.mark.parametrize("place", [place for place, call in enumerate(CALLS) if call.words[0] != "serve"])
def test_each_command_works_after_those_before_it(walk: Walk, place: int) -> None:
    walk.to(place)


def test_slides_lie_in_one_split_and_all_sets_are_there(walk: Walk) -> None:
    walk.to(place_of("data", "check"))
    images = manifest.read(walk.folder / "datasets/mine.csv")
    of_slide: dict[str, set[str]] = {}
    for image in images:
        if image.source == "our-cells":
            of_slide.setdefault(image.slide_id, set()).add(image.split)
    assert {name: len(splits) for name, splits in of_slide.items()} == {f"slide{n}": 1 for n in range(6)}
    assert "Left out" not in walk.folder.joinpath("findings.json").read_text(encoding="utf-8")
    assert {image.split for image in images if image.label == HAIRY_CELL.name} == {"train", "val", "test"}


def test_what_the_page_points_to_is_there(walk: Walk) -> None:
    walk.to(len(CALLS) - 2)
    for path in (
        *("runs/mine/recipe.json", "runs/mine/log.txt", "runs/mine/history.csv", "runs/mine/recall.csv"),
        *("runs/mine/evaluation/val/report.html", "runs/mine/evaluation/test/report.html"),
        *("reports/comparison/comparison.md", "reports/sanity/sanity.md", "models/mine/1/MODEL_CARD.md"),
    ):
        assert (walk.folder / path).is_file(), path
    stored = json.loads((walk.folder / "runs/mine/recipe.json").read_text(encoding="utf-8"))["recipe"]
    assert [stage["name"] for stage in stored["stages"]] == ["projection", "encoder", "classifier"]
    written = bundle.load(walk.folder / "models/mine/1").description
    assert written.files[0].precision == "int8"
    assert written.policy.hairy_threshold is not None


def test_the_bundle_answers_whether_a_cell_is_hairy(walk: Walk) -> None:
    (serve,) = [call for call in CALLS if call.words[0] == "serve"]
    walk.to(len(CALLS) - 2)
    hairy = next(i.path for i in manifest.read(walk.folder / "datasets/mine.csv") if i.label == HAIRY_CELL.name)
    answer = answer_of(serve, walk.folder, hairy)
    assert answer["model"]["name"] == "mine"
    assert answer["results"][0]["hairy_cell"]["flag"] in (True, False)


def answer_of(serve: Call, folder: Path, cell: Path) -> dict[str, Any]:
    """Start the service as the page says, ask it about one image and stop it."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import hal; sys.argv = {['hal', *serve.words]!r}; hal.main()"
    )
    variables = os.environ | serve.variables | {"PORT": "0", "HAL_FIT": "pad"}
    started = subprocess.Popen(
        [sys.executable, "-c", program], cwd=folder, env=variables, stdout=subprocess.PIPE, text=True
    )
    with started as service:
        assert service.stdout is not None
        try:
            url = next(m[1] for line in service.stdout if (m := re.search(r"Listening on (http://\S+?),", line)))
            with httpx.Client(base_url=url, timeout=60, transport=httpx.HTTPTransport(retries=3)) as http:
                while http.get("/health/ready").status_code != 200:
                    assert service.poll() is None
                answer: dict[str, Any] = (
                    http.post("/classify", files={"file": cell.read_bytes()}).raise_for_status().json()
                )
        finally:
            service.terminate()
        assert service.wait(60) == 0
    return answer
