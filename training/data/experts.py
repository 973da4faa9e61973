"""When the labels of several experts make one label (thesis section 4.1.2).

A manifest may have the column ``expert_labels``: the label of each expert, separated by ``|``, with an empty entry for
an expert who did not label the image. Training and validation images need one expert or more, test images two or more,
and all must agree. In the thesis one label was enough for acceptable training data, but let severe mistakes into the
test set.

Where the cell is empty, the row's ``label`` counts as that of one expert. A manifest without the column is not subject
to the rule: public data sets give one label an image and do not say how many experts stand behind it.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

COLUMN: Final = "expert_labels"
SEPARATOR: Final = "|"
FEWEST_EXPERTS: Final = MappingProxyType({"train": 1, "val": 1, "test": 2})


@dataclass(frozen=True, slots=True)
class Agreement:
    """The label on which the experts of an image agree, or the reason why it cannot be used; the other is empty."""

    label: str
    reason: str = ""


def labels_in(cell: str) -> tuple[str, ...]:
    """The labels of the experts who gave one, in their order."""
    return tuple(label for entry in cell.split(SEPARATOR) if (label := entry.strip()))


def agree(label: str, cell: str, split: str) -> Agreement:
    """Apply the rule to one row of a manifest that has the column, ``cell``.

    Where ``cell`` names no expert, ``label`` is that of one. An image without a split needs what training needs.
    """
    given = labels_in(cell) or labels_in(label)
    if len(distinct := dict.fromkeys(given)) > 1:
        return Agreement("", f"the experts disagree: {', '.join(distinct)}")
    needed = FEWEST_EXPERTS.get(split, 1)
    if len(given) < needed:
        return Agreement("", f"{_experts(len(given))} labelled it, a {split or 'training'} image needs {needed}")
    return Agreement(given[0])


def _experts(count: int) -> str:
    return "no expert" if count == 0 else f"{count} expert" + "s" * (count > 1)
