"""AML-Cytomorphology_LMU: peripheral blood of 100 patients with acute myeloid leukaemia and 100 without, 15 classes.

``annotations.dat`` of the collection gives for each image the first annotation and two later ones, ``nan`` for none and
``UNC`` where the annotator could not decide. Where the file lies in the folder, the three become ``expert_labels``, and
the agreement rule of :mod:`training.data.experts` applies to all images of that manifest. Whether the two later ones
are of two examiners or of one is not said there. The scale is not said either; cells look larger than the analyser's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from training.data import experts
from training.data.manifest import LabelledImage
from training.data.presets.base import Preset, Skipped, SourceError, file_prefix

ANNOTATIONS: Final = "annotations.dat"
NOT_ANNOTATED: Final = "nan"
UNDECIDED: Final = "UNC"


@dataclass(frozen=True, kw_only=True)
class _Munich(Preset):
    def rows(self, folder: Path) -> Iterator[LabelledImage | Skipped]:
        """As every preset, with the labels of the later annotations where they are at hand."""
        annotations = _annotations(folder)
        for row in super().rows(folder):
            codes = annotations.get(row.path.stem)
            yield row if codes is None or isinstance(row, Skipped) else self._annotated(row, codes)

    def _annotated(self, row: LabelledImage, codes: tuple[str, ...]) -> LabelledImage | Skipped:
        if UNDECIDED in codes:
            return Skipped(row.path, "an annotator could not decide on a class")
        if unknown := [code for code in codes if code not in self.labels]:
            return Skipped(row.path, f"an annotator chose {unknown[0]!r}, which has no counterpart among the 20")
        labels = [self.labels[code] for code in codes]
        return replace(row, extra=row.extra | {experts.COLUMN: experts.SEPARATOR.join(labels)})


def _annotations(folder: Path) -> dict[str, tuple[str, ...]]:
    """The codes that annotators chose for each image, by the image's name without its suffix."""
    found: dict[str, tuple[str, ...]] = {}
    problems = []
    for path in sorted(folder.rglob(ANNOTATIONS)):
        for line, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if fields := text.split():
                found[Path(fields[0]).stem] = tuple(code for code in fields[1:] if code != NOT_ANNOTATED)
                if len(fields) != 4:
                    problems.append(f"{path}, line {line}: {text!r}")
    if problems:
        raise SourceError(f"{len(problems)} lines are not 'path annotation annotation annotation'", problems)
    return found


AML_LMU: Final = _Munich(
    name="aml-lmu",
    title="AML-Cytomorphology_LMU, leukocytes of patients with AML and controls (LMU Munich)",
    licence="CC BY 3.0",
    citation=(
        "Matek C, Schwarz S, Marr C, Spiekermann K. A single-cell morphological dataset of leukocytes from AML "
        "patients and non-malignant controls. The Cancer Imaging Archive 2019. doi:10.7937/tcia.2019.36f5o9ld. "
        "Human-level recognition of blast cells in acute myeloid leukaemia with convolutional neural networks. Nature "
        "Machine Intelligence 2019;1:538-544. doi:10.1038/s42256-019-0101-9"
    ),
    layout="one folder a class, the class code before the underscore of each file name (NGS/NGS_0001.tiff)",
    labels={
        "NGS": "Segmented neutrophil",
        "NGB": "Band neutrophil",
        "EOS": "Eosinophil",
        "BAS": "Basophil",
        "LYT": "Lymphocyte",
        "MON": "Monocyte",
        "PMO": "Promyelocyte",
        "PMB": "Promyelocyte",
        "MYB": "Myelocyte",
        "MMZ": "Metamyelocyte",
        "MYO": "Blast (no lineage spec)",
        "MOB": "Blast (no lineage spec)",
        "KSC": "Smudge cell",
        "EBO": "Erythroblast (NRBC)",
    },
    left_out={"LYA": "atypical lymphocytes may be reactive or neoplastic, which is not said"},
    code_of=file_prefix,
)
