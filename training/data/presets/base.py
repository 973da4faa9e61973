"""What every preset is: the rule that turns one public data set's folder into manifest rows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from contract.files import Found, image_files
from training.data.manifest import LabelledImage, ManifestError

RESAMPLED_COLUMN: Final = "resampled_from_pixels_per_um"


class SourceError(ManifestError):
    """A data set cannot be read; ``problems`` lists everything that is wrong with it."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image that a preset leaves out, and why."""

    path: Path
    reason: str


def file_prefix(path: Path) -> str:
    """The class code before the first underscore of the file's name, in capitals."""
    return path.stem.split("_")[0].upper()


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How one public data set becomes manifest rows.

    Attributes:
        name: as given to ``hal data prepare``, and the ``source`` of every row.
        title, licence, citation: the attribution that a bundle trained on these images carries.
        layout: what the folder looks like, for messages.
        labels: the data set's own class codes to our class names.
        left_out: codes without a counterpart among the 20 classes, and why; every other unknown code is left out too.
        code_of: the class code of an image file.
        slide_of: the slide id of an image file, empty where unknown.
        resampled_from: pixels a micrometre of images that are brought to the analyser's scale, about 10, when they are
            prepared (:mod:`training.data.prepare`). All others are only cropped or padded to 256x256: what a network
            learns about size from cells of another scale is wrong by that factor.
    """

    name: str
    title: str = ""
    licence: str = "unknown"
    citation: str = ""
    layout: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    code_of: Callable[[Path], str] = lambda path: path.parent.name
    slide_of: Callable[[Path], str] = lambda _: ""
    resampled_from: float | None = None

    def rows(self, folder: Path) -> Iterator[LabelledImage | Skipped]:
        """One item for each image file below ``folder``, in the order of their names.

        Raises:
            SourceError: see :func:`files_below`.
        """
        found = files_below(folder, f"preset {self.name} expects {self.layout}: '{self.title}'")
        for path in found.images:
            yield self.row(path)
        for path, reason in found.problems:
            yield Skipped(path, reason.rstrip("."))

    def row(self, path: Path) -> LabelledImage | Skipped:
        """The row of one file, or why it has none."""
        code = self.code_of(path)
        if (label := self.labels.get(code)) is None:
            return Skipped(path, self.left_out.get(code, f"class {code!r} has no counterpart among the 20"))
        return self.image(path, label, original_label=code, evidence="real")

    def image(self, path: Path, label: str, **extra: str) -> LabelledImage:
        """A row of this data set without a split."""
        told = {name: _as_text(value) for name, value in extra.items()}
        if self.resampled_from is not None:
            told[RESAMPLED_COLUMN] = f"{self.resampled_from:g}"
        return LabelledImage(path, label, _as_text(self.slide_of(path)), _as_text(self.name), "", told)


def files_below(folder: Path, expected: str) -> Found:
    found = image_files(folder)
    if closed := [f"{path}: {reason}" for path, reason in found.problems if not path.is_file()]:
        raise SourceError("images may be missing", closed)
    if not found.images:
        raise SourceError(f"no images below {folder}", [expected])
    return found


def _as_text(name: str) -> str:
    """What comes from a file's name, whose bytes need not be UTF-8, as text that is."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
