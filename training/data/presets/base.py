"""What every preset is: the rule that turns one public data set's folder into manifest rows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from contract.files import Found, image_files
from training.data.manifest import LabelledImage
from training.errors import TrainingError

RESAMPLED_COLUMN: Final = "resampled_from_pixels_per_um"


class SourceError(TrainingError):
    """A data set cannot be read."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image that a preset leaves out, and why.

    Attributes:
        unreadable: it has no label because it cannot be decoded, and not by a rule of the preset.
    """

    path: Path
    reason: str
    unreadable: bool = False


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
        pixels_per_um: scale as published, or ``None``. The analyser's is about 10. Images are cropped or padded to
            256x256; cells of another scale are larger or smaller than the analyser's, and what a network learns from
            them about size is wrong by that factor.
        resampled: they are brought to the analyser's scale when they are prepared (:mod:`training.data.resample`).
        scale: what the scale means for these images, in a sentence.
    """

    name: str
    title: str
    licence: str
    citation: str
    layout: str
    labels: Mapping[str, str]
    scale: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    code_of: Callable[[Path], str] = lambda path: path.parent.name
    slide_of: Callable[[Path], str] = lambda _: ""
    pixels_per_um: float | None = None
    resampled: bool = False

    def rows(self, folder: Path) -> Iterator[LabelledImage | Skipped]:
        """One item for each image file below ``folder``, in the order of their names."""
        found = self._found(folder)
        for path in found.images:
            yield self.row(path)
        for path, reason in found.problems:
            yield Skipped(path, reason.rstrip("."))

    def files(self, folder: Path) -> list[Path]:
        """The image files below ``folder``, see :func:`contract.files.image_files`.

        Raises:
            SourceError: there is none, or a folder cannot be listed or a name is no regular file; all are named.
        """
        return self._found(folder).images

    def _found(self, folder: Path) -> Found:
        found = image_files(folder)
        if closed := [f"{path}: {reason}" for path, reason in found.problems if not path.is_file()]:
            raise SourceError("images may be missing:\n" + "\n".join(f"  - {problem}" for problem in closed))
        if not found.images:
            raise SourceError(f"no images below {folder}; preset {self.name} expects {self.layout}: '{self.title}'")
        return found

    def row(self, path: Path) -> LabelledImage | Skipped:
        """The row of one file, or why it has none."""
        code = self.code_of(path)
        if (label := self.labels.get(code)) is None:
            return Skipped(path, self.left_out.get(code, f"class {code!r} has no counterpart among the 20"))
        return self.image(path, label, original_label=code, evidence="real")

    def image(self, path: Path, label: str, **extra: str) -> LabelledImage:
        """A row of this data set without a split."""
        told = {name: _as_text(value) for name, value in extra.items()}
        if self.resampled:
            told[RESAMPLED_COLUMN] = f"{self.pixels_per_um:g}"
        return LabelledImage(path, label, _as_text(self.slide_of(path)), _as_text(self.name), "", told)


def _as_text(name: str) -> str:
    """What comes from a file's name, whose bytes need not be UTF-8, as text that is."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
