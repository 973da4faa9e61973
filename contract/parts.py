"""The files of a bundle beside ``bundle.json``, as it describes them."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from contract.classes import CLASS_COUNT

EMBEDDING_SIZE: Final = 2048
OUTPUT_SIZES: Final[Mapping[str, int]] = MappingProxyType(
    {"logits": CLASS_COUNT, "embedding": EMBEDDING_SIZE, "middle_flow": 728}
)
"""Outputs of the ONNX graph; the last, which a graph may lack, is the mean of each feature map at the end of Xception's
middle flow, l2-normalised."""
IMAGE_SIDE: Final = 256

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["float32", "float16", "int8"]


class Part(BaseModel):
    """A part of ``bundle.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def in_order(outputs: Iterable[str]) -> list[str]:
    """The outputs of a graph that HAL knows, in the order in which their numbers are kept."""
    found = set(outputs)
    return [name for name in OUTPUT_SIZES if name in found]


class InputSpec(Part):
    """The input of the ONNX graph: RGB pixels as they come out of the decoder, rescaled inside the graph."""

    name: Literal["image"] = "image"
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["NHWC"] = "NHWC"
    shape: tuple[Literal[256], Literal[256], Literal[3]] = (256, 256, 3)
    colour: Literal["RGB"] = "RGB"
    value_range: tuple[Literal[0], Literal[255]] = (0, 255)
    preprocessing_version: str = "1"


class OutputSpec(Part):
    """One output of the ONNX graph, float32 ``[n, size]``."""

    name: Literal["logits", "embedding", "middle_flow"]
    size: Annotated[int, Field(gt=0)]


class Parity(Part):
    """How far an exported file's logits are from the Keras model's on the same images.

    Of an adapted bundle: from its embeddings times the new last layer.
    """

    batch_sizes: tuple[int, ...]
    images: Annotated[int, Field(gt=0)]
    max_abs_logit_difference: Annotated[float, Field(ge=0)]


class ModelFile(Part):
    """One ONNX file of the bundle."""

    path: str
    precision: Precision
    sha256: Sha256
    bytes: Annotated[int, Field(gt=0)]
    parity: Parity
    golden_tolerance: Annotated[float, Field(gt=0, lt=1)]
    """Largest allowed |difference| of a probability on the golden sample at start-up."""


class GoldenSample(Part):
    """Images with the outputs that each file of the bundle must reproduce before it serves.

    The file is an ``.npz`` with ``images`` uint8 ``[k, 256, 256, 3]`` and, for each precision,
    ``logits_<precision>`` float32 ``[k, 20]``.
    """

    path: str
    sha256: Sha256
    images: Annotated[int, Field(gt=0)]


class EmbeddingReference(Part):
    """What embeddings look like on the images that the bundle's figures were measured on.

    A service compares its own with them and so sees a change of stain, of microscope or of what is photographed. The
    file is an ``.npz`` with ``mean`` float32 ``[2048]``, of all images, and ``class_means`` float32 ``[20, 2048]``, of
    those that the file predicts as each class (of all images where it predicts none). It may also have some of the
    images as ``cells`` float16 ``[k, 2048]`` with their class indices ``cell_labels`` int64 ``[k]``, on which
    ``hal adapt`` sees whether anything is forgotten.

    Attributes:
        images: how many.
        spread: root mean square of the distance of an image's embedding from ``mean``.
        spread_within: the same from the mean of the predicted class, so that the mix of classes does not count.
    """

    path: str
    sha256: Sha256
    precision: Precision
    images: Annotated[int, Field(gt=0)]
    data: str
    spread: Annotated[float, Field(gt=0)]
    spread_within: Annotated[float, Field(gt=0)]


class Novelty(Part):
    """How unfamiliar images are recognised (:mod:`contract.novelty`).

    The file is an ``.npz`` with ``mean`` and ``weights`` float32 ``[d]`` (ones in a bundle without ``middle_flow``) and
    ``components`` float32 ``[k, d]``; d is :attr:`BundleDescription.feature_size`.

    Attributes:
        images: training images that the subspace was fitted on, each source with the same weight.
        threshold: distance from the subspace above which an image is unfamiliar.
        familiar_rate: share of the validation images that the threshold calls unfamiliar, each source with the same
            weight; what is above it on a slide is unexplained.
        validation_images: how many those were.
    """

    path: str
    sha256: Sha256
    precision: Precision
    components: Annotated[int, Field(gt=0)]
    images: Annotated[int, Field(gt=0)]
    threshold: Annotated[float, Field(gt=0)]
    familiar_rate: Annotated[float, Field(gt=0, lt=1)]
    validation_images: Annotated[int, Field(gt=0)]
