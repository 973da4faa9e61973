"""Public data sets: from a folder as it was downloaded to manifest rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from training.data.images import SUFFIXES, ImageError, read_pixels
from training.data.manifest import LabelledImage
from training.data.platelets import equivalent_diameter, size_class
from training.errors import TrainingError


class SourceError(TrainingError):
    """A data set cannot be read."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image that a preset leaves out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Preset:
    """How one public data set becomes manifest rows.

    Attributes:
        name: as given to ``hal data prepare``, and the ``source`` of every row.
        title, licence, citation: the attribution that a bundle trained on these images carries.
        labels: the data set's own class codes to our class names.
        code_of: the class code of an image file.
    """

    name: str
    title: str
    licence: str
    citation: str
    labels: Mapping[str, str]
    code_of: Callable[[Path], str]

    def rows(self, folder: Path) -> Iterator[LabelledImage | Skipped]:
        """One item for each image file below ``folder``, in the order of their names.

        Raises:
            SourceError: the folder is missing or holds no image.
        """
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not files:
            raise SourceError(
                f"no images below {folder}; preset {self.name} expects the unpacked '{self.title}', one folder a class"
            )
        for path in files:
            yield self._row(path)

    def _row(self, path: Path) -> LabelledImage | Skipped:
        code = self.code_of(path)
        if code == PLATELET_CODE and self.name == "pbc":
            return self._platelet(path)
        if (label := self.labels.get(code)) is None:
            return Skipped(path, f"class {code!r} has no counterpart among the 20")
        return LabelledImage(path, label, "", self.name, "", {"original_label": code, "evidence": "real"})

    def _platelet(self, path: Path) -> LabelledImage | Skipped:
        try:
            diameter = equivalent_diameter(read_pixels(path))
        except ImageError as error:
            return Skipped(path, str(error))
        if (label := size_class(diameter)) is None:
            return Skipped(path, f"platelet of {diameter:.1f} um is neither large nor giant")
        extra = {"original_label": PLATELET_CODE, "evidence": "size-derived", "diameter_um": f"{diameter:.2f}"}
        return LabelledImage(path, label, "", self.name, "", extra)


PLATELET_CODE: Final = "PLATELET"

_PBC = Preset(
    name="pbc",
    title="PBC dataset, normal DIB (Hospital Clinic of Barcelona)",
    licence="CC BY 4.0",
    citation=(
        "Acevedo A, Merino A, Alferez S, Molina A, Boldu L, Rodellar J. A dataset of microscopic peripheral blood cell "
        "images for development of automatic recognition systems. Data in Brief 2020;30:105474. "
        "doi:10.1016/j.dib.2020.105474, doi:10.17632/snkd93bnjr.1"
    ),
    labels=MappingProxyType(
        {
            "BA": "Basophil",
            "EO": "Eosinophil",
            "ERB": "Erythroblast (NRBC)",
            "LY": "Lymphocyte",
            "MO": "Monocyte",
            "SNE": "Segmented neutrophil",
            "BNE": "Band neutrophil",
            "MMY": "Metamyelocyte",
            "MY": "Myelocyte",
            "PMY": "Promyelocyte",
        }
    ),
    code_of=lambda path: path.stem.split("_")[0].upper(),
)
_MATEK_MARROW = Preset(
    name="matek-marrow",
    title="Bone marrow cytomorphology (MLL, Helmholtz, Fraunhofer)",
    licence="CC BY 4.0",
    citation=(
        "Matek C, Krappe S, Muenzenmayer C, Haferlach T, Marr C. Highly accurate differentiation of bone marrow cell "
        "morphologies using deep neural networks on a large image data set. Blood 2021;138(20):1917-1927. "
        "doi:10.1182/blood.2020010568, doi:10.7937/TCIA.AXH3-T579"
    ),
    labels=MappingProxyType(
        {
            "BLA": "Blast (no lineage spec)",
            "PMO": "Promyelocyte",
            "MYB": "Myelocyte",
            "MMZ": "Metamyelocyte",
            "NGB": "Band neutrophil",
            "NGS": "Segmented neutrophil",
            "EOS": "Eosinophil",
            "BAS": "Basophil",
            "LYT": "Lymphocyte",
            "MON": "Monocyte",
            "PLM": "Plasma cell",
            "HAC": "Hairy cell",
            "KSC": "Smudge cell",
            "ART": "Artefact",
            "EBO": "Erythroblast (NRBC)",
            "PEB": "Erythroblast (NRBC)",
        }
    ),
    code_of=lambda path: path.stem.split("_")[0].upper(),
)
PRESETS: Final = MappingProxyType({preset.name: preset for preset in (_PBC, _MATEK_MARROW)})


def read(sources: Iterable[tuple[Preset, Path]]) -> tuple[list[LabelledImage], list[Skipped]]:
    """All rows of several data sets, and what was left out of them.

    Raises:
        SourceError: see :meth:`Preset.rows`.
    """
    images: list[LabelledImage] = []
    skipped: list[Skipped] = []
    for preset, folder in sources:
        for row in preset.rows(folder):
            if isinstance(row, Skipped):
                skipped.append(row)
            else:
                images.append(row)
    return images, skipped
