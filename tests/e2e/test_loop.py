"""docs/adapt.md as a technologist follows it: corrected slides of a laboratory make HAL name its other slides rightly.

The cells are Raabin-WBC's, photographed by smartphone: the shipped bundle calls nearly all of them eosinophils. The
collection has few cells of most smears, so that a slide here is every third smear; no smear is on two slides.
"""

import contextlib
import csv
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect
from typer.testing import CliRunner

import hal
from contract import bundle
from contract.classes import BY_NAME
from service.settings import Settings
from tests.conftest import SHARED
from tests.docs.pages import hal_calls, shell_lines
from tests.paths import ROOT
from tests.service.page.browser import Visit, chromium, visiting
from tests.service.process import running

PAGE = "docs/adapt.md"
SHIPPED = Path(Settings.model_fields["bundle"].default)
SLIDES = ("4711", "4712")
"""To be corrected; the commands of docs/adapt.md name their archives."""
OTHER = "4713"
KEYS = {"basophil": "b", "eosinophil": "e", "lymphocyte": "l", "monocyte": "m"}
CORRECTED, ASKED = 4, 10
"""Cells of a class on a slide that is corrected, and on the other one."""

Truth = Mapping[Path, str]


@dataclass(frozen=True)
class Page:
    """The review page by keyboard alone; only the system's dialog of files is not the keyboard's."""

    visit: Visit

    def push(self, button: str) -> None:
        self.visit.page.locator(button).focus()
        self.visit.press("Enter")

    def classify(self, slide: str, cells: Truth) -> None:
        if self.visit.page.locator("#slide-id").is_visible():
            self.visit.page.locator("#slide-id").focus()
            self.visit.page.keyboard.type(slide)
        else:
            self.push("#new-slide")
            self.visit.page.keyboard.type(slide)
            self.visit.press("Enter")
            expect(self.visit.page.locator(".panel h2")).to_have_text(slide)
        self.visit.choose(*cells)
        self.visit.wait_until_done()

    def correct(self, cells: Truth) -> None:
        """Look at one cell after the other and press the key of its class, whether HAL was right or not."""
        truth = {path.name: class_id for path, class_id in cells.items()}
        self.visit.focus_cells()
        self.visit.press("Home")
        for _ in range(3 * len(truth)):
            words = self.visit.page.locator(".cell.active").get_attribute("aria-label") or ""
            file = next((name for name in truth if words.endswith(name)), None)
            self.visit.press("ArrowRight" if file is None else KEYS[truth.pop(file)])
            if not truth:
                break
        expect(self.visit.page.locator("#state")).to_have_text(f"{len(cells)} reviewed · nothing left to review")

    def sign(self) -> None:
        self.push("button#sign")
        self.visit.page.keyboard.type("Ada Byron")
        self.visit.press("Enter")
        expect(self.visit.page.locator("#signed")).to_contain_text("Signed off by Ada Byron")

    def export(self, what: str, to: Path) -> Path:
        self.push("#export")
        with self.visit.page.expect_download() as started:
            self.push(f"#export-{what}")
        path = to / started.value.suggested_filename
        started.value.save_as(path)
        self.visit.press("Escape")
        return path

    def named(self, cells: Truth, to: Path) -> Counter[str]:
        """How many cells of each class have HAL's right answer."""
        truth = {path.name: class_id for path, class_id in cells.items()}
        with self.export("csv", to).open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert {row["file"] for row in rows} == {*truth}
        return Counter(row["class_id"] for row in rows if row["class_id"] == truth[row["file"]])


def cells_of(place: int, each: int) -> Truth:
    """Cells of every third smear, so many of a class."""
    root = Path(str(SHARED)) / "data" / "real"
    with (root / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["dataset"] == "raabin_wbc" and row["mapped_label"]]
    smears = sorted({row["slide_or_patient_id"] for row in rows})[place::3]
    found: dict[Path, str] = {}
    for class_id in KEYS:
        mine = sorted(
            root / row["path"]
            for row in rows
            if BY_NAME[row["mapped_label"]].id == class_id and row["slide_or_patient_id"] in smears
        )
        found |= dict.fromkeys(mine[:each], class_id)
    return found


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the page's commands run, with the shipped bundle behind the link that they switch."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "hal-c").symlink_to(ROOT / "models" / "hal-c")
    (tmp_path / "models" / "current").symlink_to(SHIPPED.relative_to("models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def follow(line: str) -> None:
    """Run a command of the page."""
    calls = hal_calls(line)
    for call in calls:
        found = CliRunner().invoke(hal.app, call.words)
        assert found.exit_code == 0, found.output
    if not calls:
        subprocess.run(["sh", "-c", line], check=True)


@pytest.mark.skipif(not SHARED, reason="HAL_SHARED is not set: the real images are not at hand")
def test_corrected_slides_make_hal_name_the_other_slides_of_the_laboratory_rightly(desk: Path) -> None:
    corrected = [cells_of(place, CORRECTED) for place in range(len(SLIDES))]
    others = cells_of(len(SLIDES), ASKED)
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(running(desk / "models" / "current"))
        visit = stack.enter_context(visiting(stack.enter_context(chromium()), service.url, strict=False))
        page = Page(visit)
        page.classify(OTHER, others)
        before = page.named(others, desk)
        for slide, cells in zip(SLIDES, corrected, strict=True):
            page.classify(slide, cells)
            page.correct(cells)
            page.sign()
            page.export("corrections", desk)
        signed = page.named(cells, desk)

        for line in shell_lines(PAGE):
            if not line.startswith("curl"):
                follow(line)
        with service.http() as http:
            assert http.post("/admin/reload").status_code == 200
        visit.page.reload()
        visit.shows("#model", "site")
        assert page.named(cells, desk) == signed, "a slide that is signed off stays as it is"
        page.push("#open-slides")
        page.push(f"#slides tbody tr:has-text('{OTHER}') button:text-is('Open')")
        page.push("#classify-again")
        expect(visit.page.locator("#classify-again")).to_have_count(0)
        visit.wait_until_done()
        after = page.named(others, desk)

    worst = min(KEYS, key=lambda class_id: before[class_id])
    told = f"named rightly, of {ASKED} each: before {dict(before)}, after {dict(after)}"
    assert after[worst] >= before[worst] + 4, told
    assert after.total() > before.total(), told
    parent, adapted = (bundle.load(folder).description for folder in (ROOT / SHIPPED, desk / "models" / "current"))
    (step,) = adapted.adaptations
    assert (step.parent_sha256, step.slides) == (parent.files[0].sha256, len(SLIDES))
    assert sum(step.cells.values()) == sum(map(len, corrected))
