"""What a network says about labelled images, each figure with its number of images and 95 % confidence interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import binomtest

from contract.binomial import clopper_pearson
from contract.classes import CLASS_COUNT, CLASS_NAMES
from contract.decision import calibrated_probabilities, temperatures
from contract.description import BundleDescription
from training.errors import TrainingError
from training.evaluation.calibration import expected_calibration_error, negative_log_likelihood


class Record(BaseModel):
    """What is written as JSON, whole and unchanged."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EvaluationError(TrainingError):
    """There is nothing to evaluate."""


@dataclass(frozen=True, slots=True)
class Proportion:
    """``hits`` of ``images`` with the Wilson 95 % interval."""

    hits: int
    images: int

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.hits / self.images

    @property
    def interval95(self) -> tuple[float, float]:
        """Wilson's score interval."""
        interval = binomtest(self.hits, self.images).proportion_ci(0.95, method="wilson")
        return float(interval.low), float(interval.high)

    @property
    def exact95(self) -> tuple[float, float]:
        """The exact interval of Clopper and Pearson (1934), never too narrow; for few or rare cells."""
        return clopper_pearson(self.hits, self.images)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model says about labelled images.

    Attributes:
        labels: true class indices. Shape: ``(n,)``.
        probabilities: calibrated. Shape: ``(n, 20)``.
    """

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
        """Share of the images whose predicted class is the true one."""
        return Proportion(int((self.predicted == self.labels).sum()), len(self.labels))

    @property
    def loss(self) -> float:
        """Cross-entropy in nats."""
        return negative_log_likelihood(self.probabilities, self.labels)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, 15 bins."""
        return expected_calibration_error(self.probabilities, self.labels)

    @property
    def macro_f1(self) -> float:
        """Mean over the classes that occur of the harmonic mean of recall and precision, 0 where both are 0."""
        matrix = self.confusion
        occurring = matrix.sum(axis=1) > 0
        doubled = 2 * matrix.diagonal() / (matrix.sum(axis=0) + matrix.sum(axis=1)).clip(1)
        return float(doubled[occurring].mean())

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Counts by true class (rows) and predicted class (columns). Shape: ``(20, 20)``."""
        matrix = np.zeros((CLASS_COUNT, CLASS_COUNT), np.int64)
        np.add.at(matrix, (self.labels, self.predicted), 1)
        return matrix

    def of_images(self, chosen: NDArray[np.bool_]) -> "Evaluation":
        """The same for a part of the images. Shape of ``chosen``: ``(n,)``."""
        return Evaluation(self.labels[chosen], self.probabilities[chosen])

    def commonest_confusions(self, count: int = 8) -> list[tuple[str, str, int]]:
        """(true, predicted, images), the commonest first."""
        matrix = self.confusion.copy()
        np.fill_diagonal(matrix, 0)
        order = np.argsort(matrix, axis=None)[::-1][:count]
        pairs = [divmod(int(position), CLASS_COUNT) for position in order]
        return [(CLASS_NAMES[t], CLASS_NAMES[p], int(matrix[t, p])) for t, p in pairs if matrix[t, p]]
