"""``hal export``: from a trained run to a bundle that the service can verify and serve."""

import datetime as dt
import importlib.metadata
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import onnx
from numpy.typing import NDArray

from contract import bundle
from contract.decision import temperatures
from contract.description import BundleDescription, Calibration, Provenance
from contract.parts import GoldenSample, ModelFile, Precision
from training.data import image_list, manifest
from training.data.contents import recorded_hashes, with_pixels
from training.data.images import read_image
from training.data.manifest import LabelledImage
from training.evaluation.calibration import fit_temperature
from training.evaluation.evidence import attributions, class_evidence, limits, suppressed
from training.evaluation.metrics import COMMAND, bundle_metrics, of_kind
from training.evaluation.onnx_inference import Outputs, onnx_outputs
from training.evaluation.policy import decision_policy
from training.evaluation.results import Evaluation
from training.evaluation.run_network import trained_networks
from training.export import model_card, triton
from training.export.embedding_reference import write_reference
from training.export.middle_flow import outputs_of
from training.export.model_files import WrittenFile, describe_file, write_files
from training.export.novelty import basis_of, fit_novelty
from training.fit.run import Run, RunError

GOLDEN_IMAGES: Final = 4
INTENDED_USE: Final = (
    "For research use. Pre-classifies images of single cells of stained peripheral blood smears; "
    "assists a qualified technologist, who confirms every class. Not for diagnosis."
)
LIBRARIES: Final = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class Validation:
    """The validation images and what each file says about them."""

    images: list[LabelledImage]
    labels: NDArray[np.int64]
    outputs: dict[Precision, Outputs]


def export(run_folder: Path, out: Path, name: str, version: str, precisions: Sequence[Precision]) -> BundleDescription:
    """Write the bundle of a finished run, the first of ``precisions`` as its default; returns ``bundle.json``.

    Raises:
        RunError: the run is not finished, or ``out`` is taken.
        ExportError: the graph breaks the contract or is too far from Keras.
        PolicyError: there are no images to choose the hairy threshold by.
    """
    run = Run.open(run_folder)
    if run.recipe.trains_on_validation:
        raise RunError(
            f"{run.root} was trained on its validation images, so that nothing is left to calibrate it and to choose "
            "the hairy threshold by; export the run of the model selection, or hold other images out as 'val'"
        )
    encoder, head = trained_networks(run)
    return write_bundle(run, encoder, head, out, name, version, precisions)


def write_bundle(
    run: Run,
    encoder: keras.Model,
    head: keras.Model,
    out: Path,
    name: str,
    version: str,
    precisions: Sequence[Precision],
) -> BundleDescription:
    """:func:`export` for networks that are in memory already; ``out`` appears whole or not at all."""
    if (out / bundle.MANIFEST_NAME).exists():
        raise RunError(f"{out} holds a bundle already; remove it or choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        written = write_files(run, encoder, head, folder, precisions, scratch=Path(temporary))
        validation = _validate(run, written)
        files = tuple(describe_file(written[p], p, encoder, head, validation.images) for p in precisions)
        golden = _golden(folder, validation, precisions)
        graph = written[precisions[0]].runnable
        description = _describe(run, folder, graph, validation, name=name, version=version, files=files, golden=golden)
        for precision in set(written) - set(precisions):
            written[precision].path.unlink()
        image_list.write(folder / image_list.FILE_NAME, with_pixels(run.images), recorded_hashes(run.images))
        model_card.rewrite(folder, description)
        folder.rename(out)
    if (config := triton.write(out, description)) is not None:
        run.say(f"export: {config} makes {out.parent.parent} a Triton model repository")
    return bundle.load(out).description


def _validate(run: Run, written: dict[Precision, WrittenFile]) -> Validation:
    images = [image for image in run.images if image.split == "val"]
    paths, labels = [image.path for image in images], [image.class_index for image in images]
    outputs = {p: onnx_outputs(file.runnable, paths, f"validation images, {p}") for p, file in written.items()}
    return Validation(images, np.array(labels, dtype=np.int64), outputs)


def _golden(folder: Path, validation: Validation, precisions: Sequence[Precision]) -> GoldenSample:
    """Correctly classified images of different classes, with what each file says about them."""
    first = validation.outputs[precisions[0]].logits
    correct = np.flatnonzero(first.argmax(axis=1) == validation.labels)
    _, positions = np.unique(validation.labels[correct], return_index=True)
    chosen = correct[positions][:GOLDEN_IMAGES]
    images = np.stack([read_image(validation.images[index].path) for index in chosen])
    logits: dict[str, Any] = {f"logits_{p}": validation.outputs[p].logits[chosen] for p in precisions}
    path = folder / "golden.npz"
    np.savez_compressed(path, images=images, **logits)
    return GoldenSample(path=path.name, sha256=bundle.sha256_of(path), images=len(chosen))


def _describe(
    run: Run,
    folder: Path,
    graph: Path,
    validation: Validation,
    *,
    name: str,
    version: str,
    files: tuple[ModelFile, ...],
    golden: GoldenSample,
) -> BundleDescription:
    """Fit what is fitted on validation images, and write the files of it; ``graph`` runs as the first file will."""
    classes = class_evidence(run.images)
    hidden, split = suppressed(classes), "+".join(sorted({image.split for image in validation.images}))
    shipped = files[0].precision
    outputs, data = validation.outputs[shipped], f"the run's images of split {split}"
    real = of_kind(validation.images) == "real"
    temperature = fit_temperature(outputs.logits[real], validation.labels[real], hidden, split)
    before = Evaluation.at(outputs.logits[real], validation.labels[real], 1.0, hidden)
    calibration = Calibration(
        id=f"temperature-{temperature:.4f}",
        temperature=temperature,
        fitted_on=f"the run's real validation images ({shipped}), the same that metrics of that split are of",
        images=int(real.sum()),
        ece_before=before.calibration_error,
        ece_after=before.calibration_error,
    )
    novelty, calibration = fit_novelty(folder, graph, shipped, run.images, calibration, hidden, run.recipe.seed)
    # As they are served: with the second temperature where a validation image is unfamiliar.
    scores = basis_of(folder, novelty).scores(outputs.features)
    served = temperatures(scores, temperature, calibration.unfamiliar_temperature)
    after = Evaluation.at(outputs.logits, validation.labels, served, hidden)
    policy = decision_policy(after, real, classes, split)
    major, manifest_path = version.partition(".")[0], model_card.manifest_path(run.root.name, made=not real.all())
    return BundleDescription(
        name=name,
        version=version,
        intended_use=INTENDED_USE,
        limits=limits(classes, run.images),
        classes=classes,
        outputs=outputs_of(onnx.load(graph)),
        files=files,
        golden=golden,
        reference=write_reference(folder, outputs, validation.labels, hidden, shipped, data),
        novelty=novelty,
        calibration=calibration,
        policy=policy,
        metrics=bundle_metrics(
            validation.images,
            {precision: found.logits for precision, found in validation.outputs.items()},
            served,
            hidden,
            shipped,
            policy.hairy_threshold,
            COMMAND.format(bundle=f"models/{name}/{major}", manifest=manifest_path),
        ),
        provenance=Provenance(
            run=run.root.name,
            recipe=run.recipe.model_dump(mode="json"),
            manifest_sha256=manifest.fingerprint(run.images, recorded_hashes(run.images)),
            initial_weights_sha256=(run.root / "initial_weights.sha256").read_text(encoding="utf-8").strip(),
            started_from=run.started_from,
            seed=run.recipe.seed,
            libraries={library: importlib.metadata.version(library) for library in LIBRARIES},
            source_revision=_revision(),
            created=dt.datetime.now(dt.UTC).replace(microsecond=0),
        ),
        attributions=attributions(run.images),
    )


def _revision() -> str:
    """The commit of the source that exports, marked when files differ from it."""
    try:
        git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
