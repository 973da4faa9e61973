"""A bundle: one folder that holds a trained model and everything that must be known to serve it honestly.

:class:`Manifest` describes ``bundle.json``; :func:`load` verifies a folder against it and :func:`write` makes one.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from contract.classes import BY_SLUG, CLASS_COUNT, CLASS_NAMES, HAIRY_CELL

MANIFEST_NAME: Final = "bundle.json"
EMBEDDING_SIZE: Final = 2048
IMAGE_SIDE: Final = 256

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["float32", "float16", "int8"]


class BundleError(Exception):
    """A bundle cannot be used; the message says what was wrong, what was expected and what to do."""


class BundleNotFoundError(BundleError):
    """There is no ``bundle.json`` where one was expected."""


class BundleInvalidError(BundleError):
    """``bundle.json`` breaks the contract; ``problems`` lists every breach."""

    def __init__(self, path: Path, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"{path} is not a valid bundle:\n" + "\n".join(f"  - {problem}" for problem in self.problems))


class BundleCorruptError(BundleError):
    """Files of the bundle are missing or are not the files that were exported; ``problems`` lists every one."""

    def __init__(self, root: Path, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            f"the files of bundle {root} are not the ones that were exported:\n"
            + "\n".join(f"  - {problem}" for problem in self.problems)
            + "\nCopy the bundle again from where it was exported; never edit its files."
        )


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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


class ClassEvidence(_Part):
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


class InputSpec(_Part):
    """The input of the ONNX graph: RGB pixels as they come out of the decoder, rescaled inside the graph."""

    name: Literal["image"] = "image"
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["NHWC"] = "NHWC"
    shape: tuple[Literal[256], Literal[256], Literal[3]] = (256, 256, 3)
    colour: Literal["RGB"] = "RGB"
    value_range: tuple[Literal[0], Literal[255]] = (0, 255)
    preprocessing_version: str = "1"


class OutputSpec(_Part):
    """One output of the ONNX graph, float32 ``[n, size]``."""

    name: Literal["logits", "embedding"]
    size: Annotated[int, Field(gt=0)]


class Parity(_Part):
    """How far an exported file's logits are from the Keras model's on the same images."""

    batch_sizes: tuple[int, ...]
    images: Annotated[int, Field(gt=0)]
    max_abs_logit_difference: Annotated[float, Field(ge=0)]


class ModelFile(_Part):
    """One ONNX file of the bundle."""

    path: str
    precision: Precision
    sha256: Sha256
    bytes: Annotated[int, Field(gt=0)]
    parity: Parity
    golden_tolerance: Annotated[float, Field(gt=0, lt=1)]
    """Largest allowed |difference| of a probability on the golden sample at start-up."""


class GoldenSample(_Part):
    """Images with the outputs that each file of the bundle must reproduce before it serves.

    The file is an ``.npz`` with ``images`` uint8 ``[k, 256, 256, 3]`` and, for each precision,
    ``logits_<precision>`` float32 ``[k, 20]``.
    """

    path: str
    sha256: Sha256
    images: Annotated[int, Field(gt=0)]


class Calibration(_Part):
    """Temperature scaling (Guo et al. 2017): probabilities are ``softmax(logits / temperature)``."""

    id: str
    temperature: Annotated[float, Field(gt=0)]
    fitted_on: str
    images: Annotated[int, Field(gt=0)]
    ece_before: Probability
    ece_after: Probability


class DecisionPolicy(_Part):
    """When a cell is flagged as hairy and when a technologist is asked to look.

    Attributes:
        version: changes with any field below, so that an answer can be traced to its rule.
        hairy_threshold: smallest probability of the hairy class that raises the flag; ``None`` where the hairy class
            has no evidence.
        hairy_threshold_basis: how the threshold was chosen, on how many cells, with which confidence interval.
        review_below_probability: a top probability below this asks for review.
        review_below_margin: a distance between the two top probabilities below this asks for review.
        always_review: slugs of the classes that a technologist must confirm whatever their probability.
    """

    version: str
    hairy_threshold: Probability | None
    hairy_threshold_basis: str
    hairy_advice: str
    review_below_probability: Probability
    review_below_margin: Probability
    always_review: tuple[str, ...] = ("blast", "promyelocyte", "plasma-cell", "hairy-cell", "abnormal-lymphocyte")

    @model_validator(mode="after")
    def _known_classes(self) -> Self:
        if unknown := [slug for slug in self.always_review if slug not in BY_SLUG]:
            raise ValueError(f"always_review names unknown classes {unknown}; expected slugs of {list(BY_SLUG)}")
        return self


class Metric(_Part):
    """A figure with everything that is needed to believe it."""

    name: str
    value: float
    interval95: tuple[float, float] | None = None
    """95 % confidence interval: Wilson for proportions, unless ``method`` says otherwise."""
    images: Annotated[int, Field(gt=0)]
    data: str
    split: str
    precision: Precision
    command: str


class Provenance(_Part):
    """Where the weights come from."""

    run: str
    recipe: dict[str, Any]
    manifest_sha256: Sha256
    initial_weights_sha256: Sha256 | None
    seed: int
    libraries: dict[str, str]
    source_revision: str
    created: AwareDatetime


class Attribution(_Part):
    """A source of training images that must be named wherever the bundle goes."""

    source: str
    title: str
    licence: str
    citation: str
    changes: str


class Manifest(_Part):
    """``bundle.json``."""

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    intended_use: str
    limits: tuple[str, ...]
    classes: tuple[ClassEvidence, ...]
    input: InputSpec = InputSpec()
    outputs: tuple[OutputSpec, OutputSpec] = (
        OutputSpec(name="logits", size=CLASS_COUNT),
        OutputSpec(name="embedding", size=EMBEDDING_SIZE),
    )
    files: Annotated[tuple[ModelFile, ...], Field(min_length=1)]
    golden: GoldenSample
    calibration: Calibration
    policy: DecisionPolicy
    metrics: tuple[Metric, ...]
    provenance: Provenance
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

    def _file_problems(self) -> Iterable[str]:
        precisions = [file.precision for file in self.files]
        if len(set(precisions)) != len(precisions):
            yield f"two files of one precision in {precisions}"
        for path in (self.golden.path, *(file.path for file in self.files)):
            parts = PurePosixPath(path).parts
            if PurePosixPath(path).is_absolute() or ".." in parts or len(parts) != 1:
                yield f"file name {path!r} leaves the bundle's folder; expected a plain name"

    @property
    def suppressed(self) -> NDArray[np.bool_]:
        """``[20]`` bool: classes without evidence, whose output is suppressed before the softmax."""
        return np.array([entry.evidence is Evidence.NONE for entry in self.classes])


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle on disk."""

    root: Path
    manifest: Manifest

    def file(self, precision: Precision | None = None) -> ModelFile:
        """The ONNX file of ``precision``, or the bundle's first when ``None``.

        Raises:
            BundleError: the bundle has no file of that precision.
        """
        if precision is None:
            return self.manifest.files[0]
        for file in self.manifest.files:
            if file.precision == precision:
                return file
        available = ", ".join(file.precision for file in self.manifest.files)
        raise BundleError(
            f"bundle {self.manifest.name} {self.manifest.version} has no {precision} file, only {available}; "
            f"choose one of those or export again with --precision {precision}"
        )

    def path(self, file: ModelFile) -> Path:
        """Where ``file`` is on disk."""
        return self.root / file.path

    def golden(self) -> dict[str, NDArray[Any]]:
        """The golden sample: ``images`` and ``logits_<precision>`` (see :class:`GoldenSample`).

        Raises:
            BundleInvalidError: the file is not an ``.npz``, or an array is missing or of the wrong shape.
        """
        path = self.root / self.manifest.golden.path
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (OSError, EOFError, TypeError, ValueError, BadZipFile) as error:
            raise BundleInvalidError(path, [f"cannot be read as an .npz of plain arrays: {error}"]) from error
        count = self.manifest.golden.images
        expected: dict[str, tuple[tuple[int, ...], str]] = {"images": ((count, IMAGE_SIDE, IMAGE_SIDE, 3), "uint8")}
        for file in self.manifest.files:
            expected[f"logits_{file.precision}"] = ((count, CLASS_COUNT), "float32")
        problems = [
            f"array {name!r} is {_describe(arrays.get(name))}, expected {dtype} {shape}"
            for name, (shape, dtype) in expected.items()
            if name not in arrays or arrays[name].shape != shape or arrays[name].dtype != dtype
        ]
        if problems:
            raise BundleInvalidError(path, problems)
        return arrays


def _describe(array: NDArray[Any] | None) -> str:
    return "missing" if array is None else f"{array.dtype} {array.shape}"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_manifest(root: Path) -> Manifest:
    """Read and validate ``root/bundle.json`` without touching the other files.

    Raises:
        BundleNotFoundError: there is no such file.
        BundleInvalidError: it is not JSON or breaks the contract; every breach is listed.
    """
    path = root / MANIFEST_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise BundleNotFoundError(
            f"no {MANIFEST_NAME} in {root}; point HAL_BUNDLE (or --bundle) at a folder written by 'hal export', "
            "for example models/hal-c/1"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleInvalidError(path, [f"cannot be read: {error}"]) from error
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BundleInvalidError(path, (_breach(detail) for detail in error.errors())) from error


def _breach(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "bundle.json"
    return f"{where}: {detail['msg'].removeprefix('Value error, ')}"


def load(root: Path) -> Bundle:
    """Read ``root/bundle.json`` and verify every file that it names by size and SHA-256.

    Raises:
        BundleNotFoundError, BundleInvalidError: see :func:`read_manifest`.
        BundleCorruptError: a file is missing or altered; every one is listed.
    """
    manifest = read_manifest(root)
    problems = []
    sizes = {file.path: file.bytes for file in manifest.files}
    named = [(file.path, file.sha256) for file in manifest.files] + [(manifest.golden.path, manifest.golden.sha256)]
    for name, expected in named:
        path = root / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif (size := path.stat().st_size) != sizes.get(name, size):
            problems.append(f"{name} has {size} bytes, expected {sizes[name]}")
        elif (found := sha256_of(path)) != expected:
            problems.append(f"{name} has SHA-256 {found}, expected {expected}")
    if problems:
        raise BundleCorruptError(root, problems)
    bundle = Bundle(root, manifest)
    bundle.golden()
    return bundle


def write(root: Path, manifest: Manifest) -> Bundle:
    """Write ``bundle.json`` beside the files it names, then load what was written.

    Raises:
        BundleCorruptError: the files in ``root`` are not the ones that the manifest names.
    """
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (root / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")
    return load(root)
