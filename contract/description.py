"""``bundle.json``: what a bundle says about itself, typed."""

from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, Field, model_validator

from contract.binomial import clopper_pearson
from contract.classes import BY_ID, CLASS_COUNT, CLASS_NAMES, HAIRY_CELL
from contract.parts import (
    EMBEDDING_SIZE,
    OUTPUT_SIZES,
    EmbeddingReference,
    GoldenSample,
    InputSpec,
    ModelFile,
    Novelty,
    OutputSpec,
    Part,
    Precision,
    Probability,
    Sha256,
)

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9-]*$"
"""Of a bundle, and of the folder of its versions."""


class Evidence(StrEnum):
    """What a class was learned from."""

    REAL = "real"
    """Photographs of cells labelled by experts."""
    SIZE_DERIVED = "size-derived"
    """Photographs of cells whose label follows from a measured size, not from an expert."""
    COMPOSITE = "composite"
    """Images made by editing photographs of other cells."""
    NONE = "none"
    """Nothing: the class keeps its place among the 20 and its output is suppressed."""


class ClassEvidence(Part):
    """What one class of the bundle was learned from and measured on."""

    name: str
    evidence: Evidence
    training_images: Annotated[int, Field(ge=0)]
    validation_images: Annotated[int, Field(ge=0)]
    sources: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        if (self.evidence is Evidence.NONE) != (self.training_images == 0):
            raise ValueError(
                f"evidence of {self.name!r} is '{self.evidence}' with {self.training_images} training images; "
                "'none' goes with 0 images and only with 0"
            )
        return self


class Calibration(Part):
    """Temperature scaling (Guo et al. 2017): probabilities are ``softmax(logits / temperature)``.

    Attributes:
        unfamiliar_temperature: of images that the novelty threshold calls unfamiliar, fitted on validation images at
            another scale and in other stain and camera styles; ``None`` where the bundle does not tell them apart.
        shifted_images: how many of those there were, and the calibration error on them with one temperature
            (``shifted_ece_before``) and with both (``shifted_ece_after``).
    """

    id: str
    temperature: Annotated[float, Field(gt=0)]
    unfamiliar_temperature: Annotated[float, Field(gt=0)] | None = None
    fitted_on: str
    images: Annotated[int, Field(gt=0)]
    ece_before: Probability
    ece_after: Probability
    shifted_images: Annotated[int, Field(gt=0)] | None = None
    shifted_ece_before: Probability | None = None
    shifted_ece_after: Probability | None = None


class FalseFlags(Part):
    """How many cells that are not hairy the flag was raised on, and on how many it was tried."""

    flagged: Annotated[int, Field(ge=0)]
    cells: Annotated[int, Field(gt=0)]
    data: str
    """Which cells: the end of the sentence "false flags on ... cells of the bundle's ..."."""

    @model_validator(mode="after")
    def _of_these_cells(self) -> Self:
        if self.flagged > self.cells:
            raise ValueError(f"{self.flagged} false flags on {self.cells} cells")
        return self

    @property
    def upper95(self) -> float:
        """Upper limit of the exact 95 % interval of the rate: few cells tried means a high rate allowed for."""
        return clopper_pearson(self.flagged, self.cells)[1]


class DecisionPolicy(Part):
    """When a cell is flagged as hairy and when a technologist is asked to look.

    Attributes:
        version: changes with any field below, so that an answer can be traced to its rule.
        hairy_threshold: smallest probability of the hairy class that raises the flag; ``None`` where the hairy class
            has no evidence.
        hairy_threshold_basis: how the threshold was chosen, on how many cells, with which confidence interval.
        false_flags: how often the flag is raised on cells that are not hairy, which the advice on a slide is tested
            against; ``None`` where it is not known.
        review_below_probability: a top probability below this asks for review.
        review_below_margin: a distance between the two top probabilities below this asks for review.
        always_review: ids of the classes that a technologist must confirm whatever their probability.
    """

    version: str
    hairy_threshold: Probability | None
    hairy_threshold_basis: str
    hairy_advice: str
    false_flags: FalseFlags | None = None
    review_below_probability: Probability
    review_below_margin: Probability
    always_review: tuple[str, ...] = ("blast", "promyelocyte", "plasma-cell", "hairy-cell", "abnormal-lymphocyte")

    @model_validator(mode="after")
    def _known_classes(self) -> Self:
        if unknown := [name for name in self.always_review if name not in BY_ID]:
            raise ValueError(f"always_review names unknown classes {unknown}; expected ids of {list(BY_ID)}")
        return self


AS_PHOTOGRAPHED: Final = "as photographed"


class Metric(Part):
    """A figure with everything that is needed to believe it."""

    name: str
    value: float
    interval95: tuple[float, float] | None = None
    method: Literal["Wilson", "Clopper-Pearson", "simulation", "bootstrap"] = "Wilson"
    """Of the 95 % interval; Clopper and Pearson's is exact and never too narrow, the bootstrap draws slides."""
    images: Annotated[int, Field(gt=0)]
    data: str
    split: str
    precision: Precision
    command: str
    condition: str = AS_PHOTOGRAPHED
    """How the images were changed before they were shown, to see how robust the network is."""


class StartedFrom(Part):
    """The run whose encoder another run began with instead of ImageNet's."""

    run: str
    recipe: dict[str, Any]
    manifest_sha256: Sha256
    initial_weights_sha256: Sha256 | None
    weights_sha256: Sha256 | None = None
    """Of the file that the encoder was read from, where that was a bundle's."""
    started_from: "StartedFrom | None" = None


class Provenance(Part):
    """Where the weights come from."""

    run: str
    recipe: dict[str, Any]
    manifest_sha256: Sha256
    initial_weights_sha256: Sha256 | None
    """Of the encoder before the first stage, whatever it came from."""
    started_from: StartedFrom | None = None
    seed: int
    libraries: dict[str, str]
    source_revision: str
    created: AwareDatetime


class Adaptation(Part):
    """A step from one bundle to the next by ``hal adapt``: the last layer was fitted again on a laboratory's cells.

    Attributes:
        parent: name and version of the bundle that it began with.
        parent_sha256: of the parent's first file.
        cells: how many of each class, by class id.
        slides: of how many slides (or patients) they are; a cell of no known slide counts as one.
        labelled_by: who confirmed them, as they named themselves.
        data_sha256: fingerprint of the cells' manifest.
        penalty: how strongly the layer was pulled towards the parent's; ``None`` where it stayed the parent's.
    """

    parent: str
    parent_sha256: Sha256
    cells: dict[str, Annotated[int, Field(gt=0)]]
    slides: Annotated[int, Field(gt=0)]
    labelled_by: tuple[str, ...]
    data_sha256: Sha256
    penalty: Annotated[float, Field(gt=0)] | None
    created: AwareDatetime


class Attribution(Part):
    """A source of training images that must be named wherever the bundle goes."""

    source: str
    title: str
    licence: str
    citation: str
    changes: str


class BundleDescription(Part):
    """``bundle.json``."""

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    intended_use: str
    limits: tuple[str, ...]
    classes: tuple[ClassEvidence, ...]
    input: InputSpec = InputSpec()
    outputs: Annotated[tuple[OutputSpec, ...], Field(min_length=2, max_length=3)] = (
        OutputSpec(name="logits", size=CLASS_COUNT),
        OutputSpec(name="embedding", size=EMBEDDING_SIZE),
    )
    files: Annotated[tuple[ModelFile, ...], Field(min_length=1)]
    golden: GoldenSample
    reference: EmbeddingReference | None = None
    novelty: Novelty | None = None
    calibration: Calibration
    policy: DecisionPolicy
    metrics: tuple[Metric, ...]
    provenance: Provenance
    adaptations: tuple[Adaptation, ...] = ()
    """The steps from the bundle that was exported to this one, in their order."""
    attributions: tuple[Attribution, ...]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        problems = [*self._class_problems(), *self._output_problems(), *self._file_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _class_problems(self) -> Iterable[str]:
        names = tuple(entry.name for entry in self.classes)
        if len(names) != CLASS_COUNT:
            yield f"{len(names)} classes, expected {CLASS_COUNT}"
        for position, (name, expected) in enumerate(zip(names, CLASS_NAMES, strict=False)):
            if name != expected:
                yield f"class {position} is {name!r}, expected {expected!r}: Table 4.1's order is part of the contract"
                return
        if len(names) == CLASS_COUNT:
            hairy_known = self.classes[HAIRY_CELL.index].evidence is not Evidence.NONE
            if hairy_known != (self.policy.hairy_threshold is not None):
                yield "a hairy threshold goes with evidence for the hairy class, and only with it"

    def _output_problems(self) -> Iterable[str]:
        if self.outputs[0] != OutputSpec(name="logits", size=CLASS_COUNT):
            yield f"first output is {self.outputs[0]}, expected logits of size {CLASS_COUNT}"
        if self.outputs[1].name != "embedding":
            yield f"second output is {self.outputs[1].name!r}, expected 'embedding'"
        third = OutputSpec(name="middle_flow", size=OUTPUT_SIZES["middle_flow"])
        if self.outputs[2:] not in ((), (third,)):
            yield f"third output is {self.outputs[2]}, expected {third} or none"

    def _file_problems(self) -> Iterable[str]:
        precisions = [file.precision for file in self.files]
        if len(set(precisions)) != len(precisions):
            yield f"two files of one precision in {precisions}"
        for path in (part.path for part in self.parts):
            parts = PurePosixPath(path).parts
            if PurePosixPath(path).is_absolute() or ".." in parts or len(parts) != 1:
                yield f"file name {path!r} leaves the bundle's folder; expected a plain name"

    @property
    def parts(self) -> "tuple[ModelFile | GoldenSample | EmbeddingReference | Novelty, ...]":
        """Every file that the bundle has beside ``bundle.json``: each has a ``path`` and a ``sha256``."""
        maybe = (self.golden, self.reference, self.novelty)
        return (*self.files, *(part for part in maybe if part is not None))

    @property
    def feature_size(self) -> int:
        """Of the outputs behind the logits together, by which unfamiliar images are told."""
        return sum(output.size for output in self.outputs[1:])

    @cached_property
    def suppressed(self) -> NDArray[np.bool_]:
        """``[20]`` bool, read only: classes without evidence, whose output is suppressed before the softmax."""
        suppressed = np.array([entry.evidence is Evidence.NONE for entry in self.classes])
        suppressed.flags.writeable = False
        return suppressed
