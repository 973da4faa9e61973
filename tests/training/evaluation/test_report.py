"""``hal evaluate`` as a whole: what it writes, and an HTML report that needs nothing else."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

from contract.classes import CLASS_NAMES
from tests.training.evaluation.made import HAIRY, MadeNetwork, evidence, image
from training.data import manifest
from training.data.manifest import LabelledImage
from training.evaluation import evaluate as module
from training.evaluation.evaluate import evaluate, predictions_of
from training.evaluation.measures import Measures
from training.evaluation.probe import ProbeReport

HOSTILE = '<script>alert("x")</script>'


class Reader(HTMLParser):
    """Collects what a browser would load and whether every tag is closed."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        self.text += " "
        if tag not in self.VOID:
            self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@dataclass
class Written:
    """An evaluation that was done, and the network that was asked."""

    network: MadeNetwork
    path: Path
    html: str
    page: Reader


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    folder = tmp_path_factory.mktemp("report")
    labels = [HAIRY] * 6 + ["Lymphocyte"] * 8 + ["Monocyte"] * 6 + ["Artefact"] * 3
    sources = [HOSTILE if i % 2 else "clinic & sons" for i in range(len(labels))]
    rows = [image(label, source, "val", folder) for label, source in zip(labels, sources, strict=True)]

    def answer(row: LabelledImage) -> str:
        return {rows[0].path: "Lymphocyte", rows[7].path: HAIRY}.get(row.path, row.label)

    made = MadeNetwork(folder / "run", rows, answer, name="hal-c3003", classes=evidence("Artefact")).knows(rows)
    made.recipe |= {"temperature": 0.1}
    (made.root / "history.csv").write_text("stage,epoch,loss,accuracy\nclassifier,1,3.0,0.1\nclassifier,2,2.1,0.4\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "open_network", lambda *_: made)
        path = evaluate(made.root, None, "val", None, None)
        assert path is not None
        page = Reader()
        page.feed(path.read_text(encoding="utf-8"))
        yield Written(made, path, path.read_text(encoding="utf-8"), page)


def test_a_run_has_its_report_figures_and_data_in_its_own_folder(written: Written) -> None:
    folder = written.network.root / "evaluation" / "val"
    assert written.path == folder / "report.html"
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    galleries = ("hairy-false-negatives", "hairy-false-positives")
    drawn = ("confusion", "lymphocytes", "embedding-map", "reliability", "training-curves", *galleries)
    assert {f"figures/{name}.{kind}" for name in drawn for kind in ("png", "csv")} <= names
    assert {"metrics.json", "probe.json", "predictions.npz", "predictions.csv"} <= names
    measures = Measures.model_validate_json((folder / "metrics.json").read_text())
    assert (measures.accuracy.hits, measures.accuracy.images) == (18, 20)
    assert measures.left_out == {"of a class that was never trained on": 3}
    assert ProbeReport.model_validate_json((folder / "probe.json").read_text()).classes


def test_the_report_is_whole_and_loads_nothing_from_elsewhere(written: Written) -> None:
    assert written.page.tags == []
    assert len(written.page.loaded) == 7
    assert all(each.startswith("data:image/png;base64,") for each in written.page.loaded)
    assert not re.search(r"@import|url\(|https?://", written.html)


def test_what_comes_from_the_manifest_is_shown_and_never_run(written: Written) -> None:
    assert "<script" not in written.html
    assert HOSTILE in written.page.text
    assert "clinic & sons" in written.page.text


def test_the_report_tells_images_intervals_recipe_seed_evidence_and_limits(written: Written) -> None:
    text = " ".join(written.page.text.split())
    for told in (
        "Evaluated on 20 images of split “val”",
        "Accuracy 0.9000 0.699 to 0.972 20",
        "never trained on: Artefact",
        "Left out: 3 images of a class that was never trained on",
        "These are not test images",
        '"temperature": 0.1',
        "20 of 20 images are validation images",
        "Seed 1",
        *CLASS_NAMES,
    ):
        assert told in text


def test_the_same_again_and_a_part_of_it_elsewhere(written: Written, tmp_path: Path) -> None:
    network = written.network
    asked = network.asked
    found = predictions_of(network, None, "val")
    assert network.asked == asked, "the kept predictions are taken"
    assert found.evaluation.accuracy.hits == 18
    manifest.write(tmp_path / "mine.csv", list(network.images)[6:12])
    path = evaluate(network.root, tmp_path / "mine.csv", "val", None, tmp_path / "reports")
    assert path == tmp_path / "reports" / "report.html"
    assert network.asked == asked + 6
    assert len(predictions_of(network, None, "val").images) == 20, "those of the run are as they were"
