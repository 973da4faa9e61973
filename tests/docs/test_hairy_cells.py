"""docs/hairy-cells.md as a reader follows it, from the download on; Zenodo and its images are made."""

import io
import json
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from contract import bundle
from contract.classes import HAIRY_CELL
from contract.description import Evidence
from tests.docs.pages import hal_calls, shell_lines, text
from tests.docs.test_train import COLOURS, Walk, answer_of, disc, stand_ins
from tests.training.data.zenodo import zenodo
from training.data import manifest

PAGE = "docs/hairy-cells.md"
CALLS = [call for line in shell_lines(PAGE) for call in hal_calls(line)]
RUN_HERE = [call for call in CALLS if call.words[0] not in ("serve", "bench")]
OF_ONE_CLASS = 16


def archive(name: str, generator: np.random.Generator) -> bytes:
    """A class's ZIP file as the record has it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        for number in range(OF_ONE_CLASS):
            photograph = io.BytesIO()
            Image.fromarray(disc(COLOURS[name], 288, generator)).save(photograph, "TIFF")
            written.writestr(f"{name}/{number:05}.tif", photograph.getvalue())
            written.writestr(f"__MACOSX/{name}/._{number:05}.tif", b"a resource fork")
    return stream.getvalue()


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    folder = tmp_path_factory.mktemp("hairy-cells")
    generator = np.random.default_rng(5)
    archives = {f"{name}__zip": archive(name, generator) for name in COLOURS}
    with zenodo(**archives) as record, stand_ins(folder) as patch:
        patch.setenv("HAL_ZENODO_URL", record.url)
        yield Walk(folder, RUN_HERE)


@pytest.mark.parametrize("place", range(len(RUN_HERE)))
def test_each_command_works_after_those_before_it(walk: Walk, place: int) -> None:
    walk.to(place)


def test_five_commands_lead_from_nothing_to_a_service() -> None:
    first = [call for line in shell_lines(PAGE)[:5] for call in hal_calls(line)]
    assert [call.words[0] for call in first] == ["data", "data", "train", "export", "serve"]
    assert len(text(PAGE).split()) <= 700


def test_it_is_said_that_images_were_resampled(walk: Walk) -> None:
    walk.to(0)
    assert "resampled 48 images to 10 pixels per micrometre" in " ".join(walk.to(1).split())
    images = manifest.read(walk.folder / "datasets/mll23.csv")
    assert {image.extra["resampled_from_pixels_per_um"] for image in images} == {"11.52"}
    assert {Image.open(image.path).size for image in images} == {(250, 250)}
    assert {image.split for image in images if image.label == HAIRY_CELL.name} == {"train", "val", "test"}


def test_the_bundle_has_learned_real_hairy_cells_and_answers(walk: Walk) -> None:
    walk.to(len(RUN_HERE) - 1)
    described = bundle.load(walk.folder / "models/mll23/1").description
    hairy = described.classes[HAIRY_CELL.index]
    assert hairy.evidence is Evidence.REAL
    assert hairy.training_images > 0
    assert [file.precision for file in described.files] == ["int8", "float16"]
    assert "mll23" in {entry.source for entry in described.attributions}
    assert any(metric.split == "test" for metric in described.metrics)
    licence = json.loads((walk.folder / "MLL23/zenodo-14277609.json").read_text(encoding="utf-8"))
    assert licence["metadata"]["license"]["id"] == "cc-by-4.0"
    (serve,) = [call for call in CALLS if call.words[0] == "serve"]
    cell = next(i.path for i in manifest.read(walk.folder / "datasets/mll23.csv") if i.label == HAIRY_CELL.name)
    answer = answer_of(serve, walk.folder, cell)
    assert answer["model"]["name"] == "mll23"
    assert answer["results"][0]["hairy_cell"]["flag"] in (True, False)
