"""What a run begins with instead of ImageNet's weights: the encoder of another run, or of a bundle that one became."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from contract import bundle
from contract.description import StartedFrom
from training.data import image_list
from training.fit.run import Run, RunError
from training.networks import xception as networks
from training.networks.graph_weights import read_encoder


@dataclass(frozen=True, slots=True)
class Origin:
    """An encoder to train further.

    Attributes:
        name: as told in the log.
        started_from: as told in the new run.
        seen: traces of all images that its weights were trained on (:func:`training.data.overlap.traces`).
        encoder: makes it.
    """

    name: str
    started_from: StartedFrom
    seen: set[str]
    encoder: Callable[[], keras.Model]


def find(root: Path, weights: Path | None) -> Origin:
    """The origin in a folder of a run or a bundle; ``weights`` are ImageNet's, which a bundle's are read into.

    Raises:
        RunError: there is none, the run's encoder is not finished, or the bundle has quantised files only or no list
            of its images.
        BundleError: the bundle cannot be loaded.
    """
    return _of_bundle(root, weights) if (root / bundle.MANIFEST_NAME).exists() else _of_run(root)


def _of_run(root: Path) -> Origin:
    run = Run.open(root)
    progress, groups = run.restore()
    if progress.stage < len(run.recipe.encoder_stages):
        raise RunError(
            f"{root} cannot be started from: its encoder is not finished; go on with: hal train --resume {root}"
        )

    def encoder() -> keras.Model:
        made = networks.build_encoder(None)
        made.set_weights(groups["encoder"])
        return made

    return Origin(f"{root} ({run.recipe.name})", run.as_origin(), run.seen(), encoder)


def _of_bundle(root: Path, weights: Path | None) -> Origin:
    opened = bundle.load(root)
    described = opened.description
    files = {file.precision: file for file in described.files}
    file = files.get("float32") or files.get("float16")
    if file is None:
        raise RunError(
            f"{root} cannot be started from: its weights are quantised; export it with --precision float16, too"
        )

    listed = root / image_list.FILE_NAME
    if not listed.is_file():
        raise RunError(
            f"{root} cannot be started from: {listed.name}, which says what it was trained on, is missing; copy the "
            "whole bundle"
        )

    def encoder() -> keras.Model:
        made = networks.build_encoder(networks.imagenet_weights(weights))
        read_encoder(opened.path(file), made)
        return made

    origin = described.provenance
    started_from = StartedFrom(
        run=origin.run,
        recipe=origin.recipe,
        manifest_sha256=origin.manifest_sha256,
        initial_weights_sha256=origin.initial_weights_sha256,
        weights_sha256=file.sha256,
        started_from=origin.started_from,
    )
    name = f"{root} ({described.name} {described.version})"
    return Origin(name, started_from, image_list.trained_on(listed), encoder)
