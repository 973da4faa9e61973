"""The networks of HAL-T, HAL-R and HAL-C, with the parameter counts of thesis appendix B.

A network is ``augmentation -> encoder -> head``. The encoder is one object shared by the networks of a run, and its
batch normalisation runs in inference mode unless a recipe says otherwise, as in the Keras guide that the thesis
follows.
"""

import hashlib
from pathlib import Path
from typing import Any, Final, Literal

import keras

from contract.classes import CLASS_COUNT
from contract.parts import EMBEDDING_SIZE, IMAGE_SIDE
from training.errors import TrainingError
from training.networks.augmentation import Augmentation
from training.networks.folding import folded

ENCODER_PARAMETERS: Final = 20_861_480
"""Appendix B.2."""
IMAGENET_DIGESTS: Final = {
    "md5": "b0042744bf5b25fce3cb969f33bebb97",  # the file that Keras downloads
    "sha256": "c51edf65daf73e3039178bb3c0fe422245dde203bfa7500bbdba74ee409817ae",  # the same weights as .weights.h5
}
InitialWeights = Path | Literal["imagenet"] | None


class WeightsError(TrainingError):
    """A weights file is missing or is not the file that it should be."""


def build_encoder(weights: InitialWeights) -> keras.Model:
    """Rescaling to [-1, 1], Xception without its top, global average pooling (appendix B.2).

    Args:
        weights: a Keras weights file of Xception without top, ``"imagenet"`` for Keras' own download of it, ``None``
            for random weights.

    Returns:
        Pixels 0 to 255, shape ``(n, 256, 256, 3)``, to features, shape ``(n, 2048)`` float32.

    Raises:
        WeightsError: the file cannot be loaded or does not fit the network.
    """
    try:
        xception = keras.applications.Xception(
            include_top=False, weights=weights, input_shape=(IMAGE_SIDE, IMAGE_SIDE, 3), name="xception"
        )
    except Exception as error:  # Keras raises bare Exception for a failed download
        raise WeightsError(
            f"the weights {weights} of Xception without top cannot be loaded: {error}\n"
            "Where there is no network, fetch Keras' file on another machine and name it in HAL_XCEPTION_WEIGHTS."
        ) from error
    pixels = keras.Input((IMAGE_SIDE, IMAGE_SIDE, 3), name="pixels")
    rescaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="rescaling")(pixels)
    features = xception(rescaled, training=False)
    pooled = keras.layers.GlobalAveragePooling2D(dtype="float32", name="pooling")(features)
    encoder = keras.Model(pixels, pooled, name="encoder")
    _assert_parameters(encoder, ENCODER_PARAMETERS, "B.2")
    return encoder


def set_trainable(encoder: keras.Model, trains: bool, frozen_blocks: int = 0) -> None:
    """Say which of the encoder's weights learn.

    Args:
        encoder: see :func:`build_encoder`.
        trains: whether any of them do.
        frozen_blocks: so many blocks from the image on do not.

    Raises:
        ValueError: the encoder has no block of that number.
    """
    # TensorFlow ignores an assignment of the value that an attribute has, and layers frozen before would stay so.
    encoder.trainable = not trains
    encoder.trainable = trains
    if not trains or not frozen_blocks:
        return
    layers = next((layer for layer in encoder.layers if isinstance(layer, keras.Model)), encoder).layers
    first = next(
        (place for place, layer in enumerate(layers) if layer.name.startswith(f"block{frozen_blocks + 1}_")), None
    )
    if first is None:
        raise ValueError(f"encoder {encoder.name} has no layer 'block{frozen_blocks + 1}_...' to begin to learn at")
    for layer in layers[:first]:
        layer.trainable = False


def build_projection_head(units: int, dropout: float, seed: int) -> keras.Model:
    """l2, dropout, dense, l2 (appendix B.3, B.4); no activation, so that the sphere is not cut to one orthant.

    Returns:
        Features ``(n, 2048)`` to unit vectors ``(n, units)`` float32.
    """
    head = keras.Sequential(
        [
            keras.Input((EMBEDDING_SIZE,)),
            keras.layers.UnitNormalization(dtype="float32"),
            keras.layers.Dropout(dropout, seed=seed, dtype="float32"),
            keras.layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(seed + 1), dtype="float32"),
            keras.layers.UnitNormalization(dtype="float32"),
        ],
        name="projection_head",
    )
    _assert_parameters(head, (EMBEDDING_SIZE + 1) * units, "B.3 and B.4")
    return head


def build_classifier_head(dropout: float, seed: int, normalised: bool) -> keras.Model:
    """Dropout and dense layer, after an l2 normalisation in HAL-C (appendix B.5) and without it in HAL-T, HAL-R (B.1).

    Returns:
        Features ``(n, 2048)`` to logits ``(n, 20)`` float32.
    """
    head = keras.Sequential(
        [
            keras.Input((EMBEDDING_SIZE,)),
            *([keras.layers.UnitNormalization(dtype="float32")] if normalised else []),
            keras.layers.Dropout(dropout, seed=seed, dtype="float32"),
            keras.layers.Dense(
                CLASS_COUNT, kernel_initializer=keras.initializers.GlorotUniform(seed + 1), dtype="float32"
            ),
        ],
        name="classifier_head",
    )
    _assert_parameters(head, (EMBEDDING_SIZE + 1) * CLASS_COUNT, "B.1 and B.5")
    return head


class TrainingNetwork(keras.Model):  # type: ignore[misc]  # Keras has no types
    """Augmentation, encoder and head in one network (appendix B.1, B.3 to B.5).

    The encoder is told here, at every call, whether its batch normalisation lives. Written as a functional model
    instead, Keras 3 would pass the network's own ``training=True`` on to the encoder, whatever the encoder was called
    with (keras #20285).

    Args:
        encoder: see :func:`build_encoder`.
        head: see :func:`build_projection_head` and :func:`build_classifier_head`.
        augmentation: of the images, in training only.
        seed: of the augmentation.
        live_batch_normalisation: normalise by the batch's own statistics in training; a deviation from the thesis.
        image_side: pixels of the side that images are scaled to in training, before they are augmented.
    """

    def __init__(
        self,
        encoder: keras.Model,
        head: keras.Model,
        augmentation: Augmentation,
        seed: int,
        live_batch_normalisation: bool = False,
        image_side: int = IMAGE_SIDE,
    ) -> None:
        super().__init__(name="network")
        self.image_side = image_side
        self.live_batch_normalisation = live_batch_normalisation
        self.augmentation = augmentation.layer(seed)
        self.encoder = encoder
        self.head = head
        self(keras.Input((IMAGE_SIDE, IMAGE_SIDE, 3)))

    def call(self, pixels: Any, training: bool = False) -> Any:
        """Pixels 0 to 255 of any type, shape ``(n, 256, 256, 3)``, to what the head gives.

        Bytes become floats here and not before: on the way to the device they are a quarter of the size.
        """
        pixels = keras.ops.cast(pixels, "float32")
        live = training and self.live_batch_normalisation
        if training and self.image_side < IMAGE_SIDE:
            pixels = keras.ops.image.resize(pixels, (self.image_side, self.image_side), antialias=True)
        pixels = self.augmentation(pixels, training=training)
        features = self.encoder(pixels, training=True) if live else folded(self.encoder, pixels)
        return self.head(features, training=training)


def imagenet_weights(given: Path | None) -> InitialWeights:
    """``given`` once its hash is checked, or ``"imagenet"`` where Keras downloads (and checks) the file itself.

    Raises:
        WeightsError: ``given`` is missing or is another file.
    """
    if given is None:
        return "imagenet"
    if not given.is_file():
        raise WeightsError(
            f"HAL_XCEPTION_WEIGHTS names {given}, which is not a file; unset it to let Keras download it"
        )
    content = given.read_bytes()
    found = {
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    if not found.items() & IMAGENET_DIGESTS.items():
        raise WeightsError(
            f"{given} has SHA-256 {found['sha256']} and MD5 {found['md5']}; the ImageNet weights of Xception without "
            f"top have SHA-256 {IMAGENET_DIGESTS['sha256']} (.weights.h5) or MD5 {IMAGENET_DIGESTS['md5']} (Keras' "
            "download): fetch the file again"
        )
    return given


def fingerprint(model: keras.Model) -> str:
    """SHA-256 of a model's variables, batch-normalisation statistics included: equal only if byte-identical."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(array.tobytes())
    return digest.hexdigest()


def _assert_parameters(model: keras.Model, expected: int, appendix: str) -> None:
    if (found := model.count_params()) != expected:
        raise AssertionError(f"{model.name} has {found:,} parameters, appendix {appendix} says {expected:,}")
