"""Images by class and split, as in Tables 4.1 and 4.2 of the thesis, and by set and source, as in Table 4.11."""

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from contract.classes import CLASS_NAMES
from training.data.manifest import SPLITS, Dropped, LabelledImage, counts
from training.data.sets import set_of

NO_SPLIT = "no split"


def class_table(images: Iterable[LabelledImage]) -> Table:
    """One row a class and a total; training and validation together are Table 4.1, test is Table 4.2."""
    by_split = counts(images)
    unsplit = any(split == "" for _, split in by_split)
    table = Table("Class", title="Images by class and split")
    for name in ("train", "val", "train + val", "test", *([NO_SPLIT] if unsplit else [])):
        table.add_column(name, justify="right")

    def row(title: str, labels: Sequence[str]) -> list[str]:
        train, val, test, rest = (sum(by_split[label, split] for label in labels) for split in (*SPLITS, ""))
        return [title, *_cells([train, val, train + val, test, *([rest] if unsplit else [])])]

    for label in CLASS_NAMES:
        table.add_row(*row(label, [label]))
    table.add_section()
    table.add_row(*row("Total", CLASS_NAMES))
    return table


def set_counts(images: Sequence[LabelledImage]) -> Counter[tuple[str, str, str]]:
    """Number of images by (set, source, split)."""
    return Counter((name, image.source, image.split) for name, image in zip(set_of(images), images, strict=True))


def set_table(images: Sequence[LabelledImage]) -> Table:
    """One row for each of the sets A to D and source that has images."""
    found = set_counts(images)
    table = Table("Set", "Source", title="Images by set (thesis Table 4.11) and source")
    for name in (*SPLITS, NO_SPLIT):
        table.add_column(name, justify="right")
    for name, source in sorted({(name, source) for name, source, _ in found}):
        table.add_row(name, Text(source), *_cells([found[name, source, split] for split in (*SPLITS, "")]))
    return table


def dropped_table(dropped: Iterable[Dropped]) -> Table:
    table = Table("Left out", "Class", "Why")
    for (label, reason), count in sorted(Counter((item.image.label, item.reason) for item in dropped).items()):
        table.add_row(str(count), Text(label or "-"), Text(reason))
    return table


def _cells(numbers: Iterable[int]) -> list[str]:
    return [str(number) if number else "" for number in numbers]
