"""Before and after: mean recall on the same cells, with intervals over slides."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.classes import CELL_CLASSES
from contract.description import Metric
from contract.parts import Precision
from training.evaluation.metrics import About
from training.evaluation.results import Evaluation

DRAWS: Final = 2000
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The parent and the adapted bundle on the same cells.

    Attributes:
        cells: which, for people.
        of_site: whether they are the laboratory's own.
        means: mean recall of the classes that occur, before and after.
        intervals: 95 %, of both and of the gain.
    """

    cells: str
    of_site: bool
    before: Evaluation
    after: Evaluation
    means: tuple[float, float]
    intervals: tuple[Interval, Interval, Interval]

    @classmethod
    def of(
        cls, cells: str, of_site: bool, before: Evaluation, after: Evaluation, slides: NDArray[np.int64], seed: int
    ) -> "Comparison":
        """Compare; ``slides`` are drawn as a whole. Shape: ``(n,)``."""
        means, drawn = mean_recalls([before.predicted, after.predicted], before.labels, slides, seed)
        drawn = np.column_stack([drawn, drawn[:, 1] - drawn[:, 0]])
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        first, second, gain = zip(low.tolist(), high.tolist(), strict=True)
        return cls(cells, of_site, before, after, (means[0], means[1]), (first, second, gain))

    @property
    def gain(self) -> float:
        """In mean recall, -1 to 1."""
        return self.means[1] - self.means[0]

    def lines(self) -> Iterator[str]:
        """For people: the means, and the classes whose recall changes."""
        before, after, gain = (f"{low:.3f} to {high:.3f}" for low, high in self.intervals)
        yield (
            f"{self.cells} ({len(self.before.labels)}): mean recall {self.means[0]:.3f} ({before}) before, "
            f"{self.means[1]:.3f} ({after}) after, gain {self.gain:+.3f} ({gain})"
        )
        for cell in CELL_CLASSES:
            if (chosen := self.before.labels == cell.index).any():
                was, now = (int((each.predicted[chosen] == cell.index).sum()) for each in (self.before, self.after))
                if was != now:
                    yield f"    {cell.name}: {was} -> {now} of {int(chosen.sum())}"

    def metrics(self, data: str, split: str, precision: Precision, command: str) -> Iterator[Metric]:
        """Of the adapted bundle, with its parent's mean recall beside its own."""
        about = About(split, precision, command)
        count = len(self.before.labels)
        for name, value, interval in zip(
            ("mean recall", "mean recall before adapting"), self.means[::-1], self.intervals[1::-1], strict=True
        ):
            found = about.metric(name, value, count, data)
            yield found.model_copy(update={"interval95": interval, "method": "bootstrap"})
        yield about.share("accuracy, real images", self.after.predicted == self.after.labels, data)
        yield about.metric("expected calibration error", self.after.calibration_error, count, data)
        for cell in CELL_CLASSES:
            if (chosen := self.after.labels == cell.index).any():
                yield about.share(f"recall, {cell.name}", self.after.predicted[chosen] == cell.index, data)


def mean_recalls(
    predicted: Sequence[NDArray[np.int64]], labels: NDArray[np.int64], slides: NDArray[np.int64], seed: int
) -> tuple[list[float], NDArray[np.float64]]:
    """Mean recall of the classes that occur, of several predictions of the same cells.

    Args:
        predicted: class indices by each of m networks. Shape of each: ``(n,)``.
        labels: Shape: ``(n,)``.
        slides: which are drawn together. Shape: ``(n,)``.

    Returns:
        The m means, and those of DRAWS draws of as many slides. Shape: ``(DRAWS, m)``.
    """
    _, slide = np.unique(slides, return_inverse=True)
    _, label = np.unique(labels, return_inverse=True)
    shape = slide.max() + 1, label.max() + 1
    cells = np.zeros(shape)
    np.add.at(cells, (slide, label), 1)
    hits = np.zeros((len(predicted), *shape))
    for network, classes in enumerate(predicted):
        np.add.at(hits[network], (slide, label), classes == labels)

    def mean(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        seen = drawn @ cells
        recall = np.where(seen > 0, drawn @ hits / np.maximum(seen, 1), np.nan)
        return np.asarray(np.nanmean(recall, axis=-1).T)

    draws = np.random.default_rng(seed).multinomial(shape[0], np.full(shape[0], 1 / shape[0]), DRAWS)
    return mean(np.ones((1, shape[0])))[0].tolist(), mean(draws.astype(np.float64))
