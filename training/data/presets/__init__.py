"""Public data sets: from a folder as it was downloaded to manifest rows. One module a data set."""

from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType
from typing import Final

from training.data.manifest import LabelledImage
from training.data.presets import folder as own
from training.data.presets import review
from training.data.presets.aml_lmu import AML_LMU
from training.data.presets.base import Preset, Skipped, SourceError
from training.data.presets.pbc import PBC
from training.data.presets.published import MATEK_MARROW, MLL23, RAABIN

__all__ = ["NAMES", "PRESETS", "Preset", "Skipped", "SourceError", "find", "read"]

PRESETS: Final = MappingProxyType({preset.name: preset for preset in (PBC, MATEK_MARROW, MLL23, AML_LMU, RAABIN)})
NAMES: Final = (*PRESETS, own.NAME, review.NAME)
"""What may stand before the equals sign of ``--preset PRESET=FOLDER``."""


def find(
    sources: Iterable[str], mapping: Path | None = None, unpacked: Path = Path("images")
) -> list[tuple[Preset, Path]]:
    """The presets and folders of ``PRESET=FOLDER`` items; archives of ``review=FILE`` are one, in ``unpacked``.

    Raises:
        SourceError: unknown presets, folders that do not exist, folders that match no class; all of them are listed.
    """
    found: list[tuple[Preset, Path]] = []
    archives: list[Path] = []
    problems: list[str] = []
    for item in sources:
        name, separator, value = item.partition("=")
        root = Path(value)
        if not separator or name not in NAMES:
            problems.append(f"{item!r} is not PRESET=FOLDER with a preset among {', '.join(NAMES)}")
        elif name == review.NAME and root.is_file():
            archives.append(root)
        elif name == review.NAME:
            problems.append(f"{item!r} names no file; expected a corrections.zip of the review page")
        elif not root.is_dir():
            problems.append(f"{item!r} names a folder that does not exist")
        elif name in PRESETS:
            found.append((PRESETS[name], root))
        else:
            try:
                found.append((own.preset(root, mapping), root))
            except SourceError as error:
                problems.append(str(error))
    if problems:
        raise SourceError("the images cannot be found", problems)
    if archives:
        found.append((review.preset(archives), unpacked))
    return found


def read(sources: Iterable[tuple[Preset, Path]]) -> tuple[list[LabelledImage], list[Skipped]]:
    """All rows of several data sets, and what was left out of them."""
    rows = [row for preset, folder in sources for row in preset.rows(folder)]
    skipped = [row for row in rows if isinstance(row, Skipped)]
    return [row for row in rows if isinstance(row, LabelledImage)], skipped
