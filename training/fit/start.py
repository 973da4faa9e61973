"""``hal train``: a recipe, a manifest and a folder become a trained run."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import keras
import tensorflow as tf

from contract.files import write_text
from training import recipe
from training.data import manifest
from training.data.check import check
from training.data.contents import recorded_hashes, with_pixels
from training.data.manifest import LabelledImage, ManifestError
from training.data.overlap import traces
from training.data.sampling import balance_problem, largest_balance
from training.data.sets import set_of
from training.fit.origin import Origin
from training.fit.origin import find as find_origin
from training.fit.run import Progress, Run, RunError
from training.fit.trainer import Trainer
from training.networks import xception as networks
from training.networks.precision import slowness
from training.overrides import override, override_begun
from training.recipe import Recipe

Devices = Literal["auto", "one", "mirrored"]


def start(
    recipe_name: str,
    data: Path,
    root: Path,
    weights: Path | None,
    choices: Sequence[str] = (),
    encoder_from: Path | None = None,
    start_from: Path | None = None,
    devices: Devices = "auto",
    shared_slides: bool = False,
) -> None:
    """Train a new run in ``root``.

    Args:
        encoder_from: folder of a finished run whose encoder was made by the same choices of the same images; the
            stages that would make it again are skipped.
        start_from: folder of a bundle, or of a run whose encoder is finished, by any choices; it is trained further,
            by all stages. None of its training images may validate or test here.
    """
    spread = strategy(devices)
    chosen = override(recipe.find(recipe_name), choices)
    Run.require_new(root)
    found = check(data, lambda images: in_use(images, chosen), shared_slides=shared_slides)
    found.require()
    images = trainable(found.images, chosen)
    if encoder_from is not None and start_from is not None:
        raise RunError("--encoder-from keeps an encoder as it is, --start-from trains it further: give one of the two")
    donor = None if encoder_from is None else _donor(encoder_from, chosen, images)
    origin = None
    if start_from is not None:
        origin = find_origin(start_from, weights)
        _require_unseen(start_from, origin, found.images, slides=not shared_slides)
    with _ready(chosen, spread):
        encoder = _initial_encoder(chosen, weights) if origin is None else origin.encoder()
        run = Run.start(root, chosen, images, *(() if origin is None else (origin.started_from, origin.seen)))
        if donor is not None:
            _adopt(run, donor)
        if origin is not None:
            run.say(f"begins with the encoder of {origin.name}")
        for warning in found.warnings:
            run.say(f"  warning, {warning.kind}: {warning.message}")
        _train(run, encoder)


def resume(root: Path, weights: Path | None, devices: Devices = "auto", choices: Sequence[str] = ()) -> None:
    """Go on from the checkpoint in ``root``; ``weights`` are needed if the run was killed before its first."""
    spread = strategy(devices)
    run = Run.open(root)
    if run.started_from is not None and not run.has_checkpoint:
        raise RunError(
            f"{root} was killed before it had taken over the encoder of {run.started_from.run}: delete it and begin "
            "again with --start-from"
        )
    if (changed := override_begun(run.recipe, choices)) != run.recipe:
        run.change(changed, choices, run.restore()[0])
    with _ready(run.recipe, spread):
        _train(run, networks.build_encoder(None) if run.has_checkpoint else _initial_encoder(run.recipe, weights))


def _initial_encoder(chosen: Recipe, weights: Path | None) -> keras.Model:
    return networks.build_encoder(networks.imagenet_weights(weights) if chosen.initial_weights == "imagenet" else None)


def _train(run: Run, encoder: keras.Model) -> None:
    trainer = Trainer(run, encoder)
    images = f"{len(trainer.train.paths)} training and {len(trainer.validation.paths)} validation images"
    at = f"stage {trainer.progress.stage + 1}, epoch {trainer.progress.epoch + 1}"
    devices = tf.distribute.get_strategy().num_replicas_in_sync
    on = "on one device" if devices == 1 else f"on {devices} devices"
    run.say(f"{run.recipe.name}: {images}, seed {run.recipe.seed}, {run.recipe.precision}, {on}, from {at}")
    if (slow := slowness(run.recipe.precision)) is not None:
        run.say(f"  warning, precision: {slow}")
    if run.recipe.trains_on_validation:
        run.say("  validation images are trained on: this run has no figures of its own, and cannot be calibrated")
    trainer.run_stages()
    run.say(f"done; next: hal evaluate {run.root}, hal export {run.root}")


@contextlib.contextmanager
def _ready(chosen: Recipe, spread: tf.distribute.Strategy) -> Iterator[None]:
    keras.utils.set_random_seed(chosen.seed)
    keras.mixed_precision.set_global_policy(chosen.precision)
    with spread.scope():
        yield


def strategy(devices: Devices) -> tf.distribute.Strategy:
    """How a batch is spread over devices; the loss sees the whole batch in any case.

    ``mirrored``: over all GPUs of this machine (all logical CPUs where there is none); ``auto``: so where there are
    several GPUs.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if devices == "mirrored" or (devices == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy([each.name for each in gpus or tf.config.list_logical_devices("CPU")])
    return tf.distribute.get_strategy()


def in_use(images: Sequence[LabelledImage], chosen: Recipe) -> list[LabelledImage]:
    """The images that a recipe trains on and validates with.

    Left out are test images, images of other sets, and classes that have too few training images to be learned.
    """
    of_sets = [i for i, name in zip(images, set_of(images), strict=True) if name in chosen.sets and i.split != "test"]
    training = _training(of_sets, chosen)
    return [image for image in of_sets if training[image.label] >= chosen.fewest_images]


def _training(images: Sequence[LabelledImage], chosen: Recipe) -> Counter[str]:
    """How many images of each class a recipe would learn from."""
    return Counter(image.label for image in images if image.split in chosen.train_splits)


def trainable(images: Sequence[LabelledImage], chosen: Recipe) -> list[LabelledImage]:
    """The images :func:`in_use`, if there are enough to train on, to validate with and for the stages' batches.

    Raises:
        ManifestError: nothing is left to train on or to validate with, or too little for the batches of a stage.
    """
    kept = in_use(images, chosen)
    wanted = {*chosen.train_splits} if chosen.trains_on_validation else {"train", "val"}
    problems = [
        f"no {name} image of a class with at least {chosen.fewest_images} training images"
        for name in sorted(wanted)
        if not any(image.split == name for image in kept)
    ]
    if problems:
        of_sets = [i for i, name in zip(images, set_of(images), strict=True) if name in chosen.sets]
        training = _training(of_sets, chosen)
        held = f"{len(images)} images, {training.total()} of them to train on in {len(training)} classes"
        raise ManifestError("nothing to train on", [*problems, f"the manifest holds {held}"])
    if problems := _unbalanced(_training(kept, chosen), chosen):
        raise ManifestError("the recipe's balanced batches cannot be drawn from these images", problems)
    return kept


def _unbalanced(training: Mapping[str, int], chosen: Recipe) -> list[str]:
    """What keeps stages from drawing their balanced batches, and what to set instead."""
    problems = []
    for stage in chosen.stages:
        if stage.classes_per_batch is None:
            continue
        sizes = training.values()
        if (problem := balance_problem(sizes, stage.batch_size, stage.classes_per_batch)) is not None:
            largest = largest_balance(sizes, stage.batch_size)
            instead = "null (shuffled)" if largest is None else f"{largest} (the most that works) or null (shuffled)"
            problems.append(f"stage {stage.name}: {problem}; --set {stage.name}.classes_per_batch={instead}")
    return problems


def _donor(root: Path, chosen: Recipe, images: Sequence[LabelledImage]) -> Run:
    donor = Run.open(root)
    progress, _ = donor.restore()
    problems = []
    if not donor.recipe.same_encoder(chosen):
        problems.append("its encoder was trained with other choices")
    if progress.stage < len(donor.recipe.encoder_stages):
        problems.append("its encoder is not finished")
    theirs, ours = (manifest.fingerprint(each, recorded_hashes(each)) for each in (donor.images, images))
    if theirs != ours:
        problems.append("its images differ")
    if problems:
        raise RunError(f"the encoder of {root} cannot be taken for {chosen.name}: {'; '.join(problems)}")
    return donor


def _require_unseen(root: Path, origin: Origin, images: Sequence[LabelledImage], *, slides: bool) -> None:
    held_out = with_pixels([image for image in images if image.split in ("val", "test")])
    content_hash = recorded_hashes(held_out)
    leaked = sorted(str(image.path) for image in held_out if origin.seen & traces(image, content_hash, slides))
    if leaked:
        shown = ", ".join(leaked[:10]) + (" ..." if len(leaked) > 10 else "")
        raise RunError(
            f"{root} cannot be started from: {len(leaked)} images that validate or test here were trained on there (as "
            f"they are, as a part of composites, or by cells of their slide), so figures on them would be too good: "
            f"{shown}; take its split ('hal data split MANIFEST --release-validation 0.5' moves only validation images "
            "to training)"
        )


def _adopt(run: Run, donor: Run) -> None:
    """Begin after the encoder's stages, with the donor's encoder."""
    _, groups = donor.restore()
    initial = (donor.root / "initial_weights.sha256").read_text(encoding="utf-8")
    write_text(run.root / "initial_weights.sha256", initial)
    run.save(Progress(len(run.recipe.encoder_stages)), {"encoder": groups["encoder"]})
    run.say(f"encoder taken from {donor.root} ({donor.recipe.name})")
