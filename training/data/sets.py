"""The four sets of the thesis's sanity test (section 4.4, Table 4.11), told apart by where an image comes from.

In the thesis all hairy cells came from one database and all other cells from others, so a model could name the database
instead of the cell. The sets make that visible:

==== ===================================================================== =============================
Set  Here                                                                  Thesis
==== ===================================================================== =============================
A    hairy cells                                                           hairy cells of "hairy_db"
B    the other classes, of sources without hairy cells                     "WBCTrain" or "WBCTest"
C    the other classes, of the sources that hold the hairy cells           the 19 others of "hairy_db"
D    cells that look like hairy cells but were not confirmed as such       taken out of the "WBC" sets
==== ===================================================================== =============================

Look-alikes are declared by anything in the manifest's column ``look_alike``. They make no source a hairy one, whatever
their label says. Training and evaluation on "A and B" therefore leave out C and D.
"""

from collections.abc import Sequence
from typing import Final, Literal

from contract.classes import HAIRY_CELL
from training.data.manifest import LabelledImage

ImageSet = Literal["A", "B", "C", "D"]
LOOK_ALIKE_COLUMN: Final = "look_alike"


def set_of(images: Sequence[LabelledImage]) -> list[ImageSet]:
    """The set of each image of a manifest, whatever its split.

    One hairy cell makes its source a hairy one, and a part of the manifest may not show it.
    """
    alike = [bool(image.extra.get(LOOK_ALIKE_COLUMN, "").strip()) for image in images]
    hairy = {i.source for i, other in zip(images, alike, strict=True) if i.label == HAIRY_CELL.name and not other}

    def one(image: LabelledImage, other: bool) -> ImageSet:
        if other:
            return "D"
        if image.source not in hairy:
            return "B"
        return "A" if image.label == HAIRY_CELL.name else "C"

    return [one(image, other) for image, other in zip(images, alike, strict=True)]
