"""What a network says about labelled images, each figure with its number of images and 95 % confidence interval."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, f1_score

from contract.binomial import clopper_pearson
from contract.classes import CLASS_COUNT, CLASS_NAMES
from contract.decision import calibrated_probabilities, temperatures
from contract.description import BundleDescription
from training.errors import TrainingError
from training.evaluation.calibration import expected_calibration_error, negative_log_likelihood

Method = Literal["Wilson", "Clopper-Pearson"]


class Record(BaseModel):
    """What is written as JSON, whole and unchanged."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EvaluationError(TrainingError):
    """There is nothing to evaluate."""


class Proportion(Record):
    """``hits`` of ``images`` and the 95 % interval of their share.

    Clopper and Pearson's interval (1934) is exact and never too narrow, for few or rare cells; Wilson's is narrower.
    """

    value: float
    hits: int
    images: int
    interval95: tuple[float, float]
    method: Method

    @classmethod
    def of(cls, hits: int, images: int, method: Method = "Wilson") -> "Proportion":
        """``images`` is at least 1."""
        if method == "Clopper-Pearson":
            interval = clopper_pearson(hits, images)
        else:
            wilson = binomtest(hits, images).proportion_ci(0.95, method="wilson")
            interval = float(wilson.low), float(wilson.high)
        return cls(value=hits / images, hits=hits, images=images, interval95=interval, method=method)

    def __str__(self) -> str:
        low, high = self.interval95
        return f"{self.value:.4f} [{low:.4f}, {high:.4f}] ({self.hits} of {self.images})"


def share(hits: NDArray[np.bool_], method: Method = "Wilson") -> Proportion | None:
    """How many of the images are hits; ``None`` of no images."""
    return Proportion.of(int(hits.sum()), len(hits), method) if len(hits) else None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """True class indices ``(n,)`` and calibrated probabilities ``(n, 20)`` of labelled images."""

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        logits: NDArray[np.float32],
        labels: NDArray[np.int64],
        bundle: BundleDescription,
        novelty: NDArray[np.float32] | None = None,
    ) -> "Evaluation":
        """By the calibration of a bundle; ``novelty`` has the scores of the images where the bundle gives some."""
        calibration = bundle.calibration
        temperature = temperatures(novelty, calibration.temperature, calibration.unfamiliar_temperature)
        return cls.at(logits, labels, temperature, bundle.suppressed)

    @classmethod
    def at(
        cls,
        logits: NDArray[np.float32],
        labels: NDArray[np.int64],
        temperature: float | NDArray[np.float64],
        suppressed: NDArray[np.bool_],
    ) -> "Evaluation":
        """By a temperature, or one for each image, and the classes to be suppressed."""
        if len(labels) == 0:
            raise EvaluationError("no images to evaluate; check the manifest's split column")
        return cls(labels, calibrated_probabilities(logits, temperature, suppressed))

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Class of the largest probability. Shape: ``(n,)``."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def accuracy(self) -> Proportion:
        return Proportion.of(int((self.predicted == self.labels).sum()), len(self.labels))

    @property
    def loss(self) -> float:
        """Cross-entropy in nats."""
        return negative_log_likelihood(self.probabilities, self.labels)

    @property
    def calibration_error(self) -> float:
        return expected_calibration_error(self.probabilities, self.labels)

    @property
    def macro_f1(self) -> float:
        """Mean over the classes that occur of the harmonic mean of recall and precision, 0 where both are 0."""
        occurring = np.unique(self.labels)
        return float(f1_score(self.labels, self.predicted, labels=occurring, average="macro", zero_division=0))

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Counts by true class (rows) and predicted class (columns). Shape: ``(20, 20)``."""
        return np.asarray(confusion_matrix(self.labels, self.predicted, labels=range(CLASS_COUNT)), np.int64)

    def of_images(self, chosen: NDArray[np.bool_]) -> "Evaluation":
        """The same for a part of the images. Shape of ``chosen``: ``(n,)``."""
        return Evaluation(self.labels[chosen], self.probabilities[chosen])

    def commonest_confusions(self) -> list[tuple[str, str, int]]:
        """(true, predicted, images) of the twelve commonest, in that order."""
        matrix = self.confusion.copy()
        np.fill_diagonal(matrix, 0)
        order = np.argsort(matrix, axis=None)[::-1][:12]
        pairs = [divmod(int(position), CLASS_COUNT) for position in order]
        return [(CLASS_NAMES[t], CLASS_NAMES[p], int(matrix[t, p])) for t, p in pairs if matrix[t, p]]
