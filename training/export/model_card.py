"""``MODEL_CARD.md``: what ``bundle.json`` says, for people."""

from collections.abc import Iterable

from contract.description import AS_PHOTOGRAPHED, BundleDescription, Evidence, Metric, StartedFrom

FILE_NAME = "MODEL_CARD.md"
RECALL = "recall, "
ELSEWHERE = "never trained on"
"""Split of figures of data sets that had no part in the bundle."""
MEANING = {
    Evidence.REAL: "photographs labelled by experts",
    Evidence.SIZE_DERIVED: "photographs, label from a measured size",
    Evidence.COMPOSITE: "edited photographs of other cells",
    Evidence.NONE: "none: suppressed",
}


def render(description: BundleDescription) -> str:
    """The model card of a bundle, in Markdown; every figure is one of ``bundle.json``."""
    parts = (
        _heading(description),
        _figures(description),
        _robustness(description),
        _elsewhere(description),
        _classes(description),
        _rules(description),
        _origin(description),
    )
    return "\n".join(line for part in parts for line in part)


def _heading(description: BundleDescription) -> Iterable[str]:
    yield f"# Model card: {description.name} {description.version}\n"
    command = "hal adapt" if description.adaptations else "hal export"
    yield f"Written by `{command}` from `bundle.json`; do not edit.\n"
    yield f"**Intended use.** {description.intended_use}\n"
    yield "**Limits.**\n"
    yield from (f"- {limit}" for limit in description.limits)
    yield ""


def _figures(description: BundleDescription) -> Iterable[str]:
    shown = [
        metric
        for metric in description.metrics
        if not metric.name.startswith(RECALL) and metric.condition == AS_PHOTOGRAPHED and metric.split != ELSEWHERE
    ]
    yield "## Figures\n"
    yield (
        "95 % intervals are Wilson's, of flags Clopper and Pearson's, of mean recalls those of 2,000 draws of slides. "
        "Probabilities are calibrated. Validation images (val) chose temperature and threshold, test images nothing.\n"
    )
    yield "| Figure | Precision | Value | Interval | Images | Data |"
    yield "|---|---|---:|---|---:|---|"
    for metric in shown:
        yield (
            f"| {metric.name} | {metric.precision} | {metric.value:.4f} | {_interval(metric)} | {metric.images} | "
            f"{metric.data}, {metric.split} |"
        )
    network = "its last layer, computed apart" if description.adaptations else "Keras"
    yield f"\n| File | Precision | Megabytes | Largest logit difference to {network} | Images |"
    yield "|---|---|---:|---:|---:|"
    for file in description.files:
        difference = file.parity.max_abs_logit_difference
        yield f"| {file.path} | {file.precision} | {file.bytes / 1e6:.1f} | {difference:.2g} | {file.parity.images} |"
    yield from _again(description)


def _again(description: BundleDescription) -> Iterable[str]:
    """The commands that give the figures again."""
    if description.adaptations:
        yield "\nAll of these again, from the site's own cells:\n"
        yield "```sh"
        yield from dict.fromkeys(metric.command for metric in description.metrics)
        yield "```\n"
        return
    made = any(entry.evidence is Evidence.COMPOSITE for entry in description.classes)
    sources = " ".join(f"--preset {entry.source}=FOLDER" for entry in description.attributions)
    edits = "; docs/composites.md has the command that edits them" if made else ""
    yield f"\nAll of these again, from the downloaded image sets (`images.csv` lists the images used{edits}):\n"
    yield "```sh"
    yield f"hal data prepare {sources} --like BUNDLE/images.csv --out datasets/open.csv"
    yield from dict.fromkeys(metric.command for metric in description.metrics)
    yield "```\n"


def _robustness(description: BundleDescription) -> Iterable[str]:
    """A row a condition, a column a figure; the same test images throughout."""
    measured = [m for m in description.metrics if m.split == "test" and not m.name.startswith(RECALL)]
    changed = {metric.name for metric in measured if metric.condition != AS_PHOTOGRAPHED}
    conditions = list(dict.fromkeys(metric.condition for metric in measured))
    if not changed:
        return
    columns = [(m.name, m.data) for m in measured if m.condition == AS_PHOTOGRAPHED and m.name in changed]
    cells = {(m.condition, m.name, m.data): m for m in measured}
    yield "## Under the conditions of another laboratory\n"
    yield "The same test images, changed before they are shown.\n"
    yield f"| Images are | {' | '.join(f'{name} ({data})' for name, data in columns)} |"
    yield f"|---|{'---:|' * len(columns)}"
    for condition in conditions:
        values = (cells.get((condition, name, data)) for name, data in columns)
        yield f"| {condition} | {' | '.join(f'{m.value:.4f}' if m else '' for m in values)} |"
    yield ""


def _elsewhere(description: BundleDescription) -> Iterable[str]:
    """Data sets that the bundle was never trained on, by class."""
    shown = [metric for metric in description.metrics if metric.split == ELSEWHERE]
    if not shown:
        return
    yield "## On data sets that were never trained on\n"
    yield "| Figure | Value | Interval | Images | Data |"
    yield "|---|---:|---|---:|---|"
    for metric in shown:
        yield f"| {metric.name} | {metric.value:.4f} | {_interval(metric)} | {metric.images} | {metric.data} |"
    yield ""


def _classes(description: BundleDescription) -> Iterable[str]:
    recalls = [metric for metric in description.metrics if metric.name.startswith(RECALL) and metric.split != ELSEWHERE]
    split = "test" if any(metric.split == "test" for metric in recalls) else "val"
    recall = {metric.name.removeprefix(RECALL): metric for metric in recalls if metric.split == split}
    yield "## Classes\n"
    yield f"Recall is of {split} images, of real ones where the class has any.\n"
    yield "| Class | Evidence | Training images | Validation images | Recall | Interval | Of |"
    yield "|---|---|---:|---:|---:|---|---|"
    for entry in description.classes:
        metric = recall.get(entry.name)
        figures = f"{metric.value:.3f} | {_interval(metric)} | {metric.images}, {metric.data}" if metric else " |  | "
        yield (
            f"| {entry.name} | {MEANING[entry.evidence]} | {entry.training_images} | {entry.validation_images} | "
            f"{figures} |"
        )
    yield ""


def _rules(description: BundleDescription) -> Iterable[str]:
    calibration, policy = description.calibration, description.policy
    yield "## Calibration and decision\n"
    yield (
        f"- Temperature {calibration.temperature:.4f}, fitted on {calibration.images} images: {calibration.fitted_on}. "
        f"Expected calibration error {calibration.ece_before:.4f} before, {calibration.ece_after:.4f} after."
    )
    if (novelty := description.novelty) is not None:
        yield (
            f"- An image is unfamiliar when its embedding lies further than {novelty.threshold:.4g} from the subspace "
            f"({novelty.components} components) of {novelty.images} training images: {novelty.familiar_rate:.0%} of "
            f"{novelty.validation_images} validation images do."
        )
    if calibration.styled_ece_before is not None and calibration.styled_ece_after is not None:
        yield (
            f"- Unfamiliar images have temperature {calibration.unfamiliar_temperature:.4f}. Expected calibration "
            f"error on {calibration.styled_images} validation images in styles of other stains and cameras: "
            f"{calibration.styled_ece_before:.4f} without it, {calibration.styled_ece_after:.4f} with it."
        )
    yield f"- Hairy flag: threshold {policy.hairy_threshold}, {policy.hairy_threshold_basis}. {policy.hairy_advice}"
    yield (
        f"- Review is asked for below a top probability of {policy.review_below_probability} (from there on at least "
        f"98 % of the validation cells are right), below a margin of {policy.review_below_margin} to the runner-up, "
        f"and always for {', '.join(policy.always_review)}."
    )
    yield ""


def _origin(description: BundleDescription) -> Iterable[str]:
    provenance = description.provenance
    recipe, precisions = provenance.recipe["name"], [f"--precision {file.precision}" for file in description.files]
    libraries = ", ".join(f"{name} {version}" for name, version in provenance.libraries.items())
    yield "## Origin\n"
    for step in reversed(description.adaptations):
        cells = ", ".join(f"{count} {name}" for name, count in step.cells.items())
        penalty = "the layer stayed as it was" if step.penalty is None else f"penalty {step.penalty:.3g}"
        yield (
            f"- Last layer of {step.parent} (SHA-256 of its file `{step.parent_sha256}`) adapted on "
            f"{step.created:%Y-%m-%d} to {sum(step.cells.values())} cells of {step.slides} slides ({cells}), confirmed "
            f"by {', '.join(step.labelled_by)}; {penalty}; fingerprint of the cells `{step.data_sha256}`."
        )
    yield f"- Recipe `{recipe}`, seed {provenance.seed}. Made by:\n"
    yield "```sh"
    made = any(entry.evidence is Evidence.COMPOSITE for entry in description.classes)
    yield from _training(recipe, provenance.run, provenance.started_from, made=made)
    yield f"hal export runs/{provenance.run} --out BUNDLE {' '.join(precisions)}"
    yield "```\n"
    yield f"- Data manifest fingerprint `{provenance.manifest_sha256}`."
    initial = provenance.initial_weights_sha256
    for origin in _chain(provenance.started_from):
        initial = origin.initial_weights_sha256
        yield f"- Began with the encoder of run `{origin.run}`; fingerprint of its data `{origin.manifest_sha256}`."
    yield f"- Initial encoder weights (ImageNet), SHA-256 of the variables `{initial}`."
    yield f"- Source revision `{provenance.source_revision}`, {provenance.created:%Y-%m-%d}, with {libraries}."
    yield "\n## Attribution of the training images\n"
    for entry in description.attributions:
        yield f"- **{entry.title}** ({entry.licence}). {entry.citation} Changes: {entry.changes}."
    yield ""


def _training(recipe: str, run: str, origin: StartedFrom | None, *, made: bool) -> Iterable[str]:
    """The commands that train a run, those of what it began with first."""
    if origin is not None:
        yield from _training(origin.recipe["name"], origin.run, origin.started_from, made=made)
    start = "" if origin is None else f" --start-from runs/{origin.run}"
    yield f"hal train {recipe}{start} --data {manifest_path(run, made=made)} --run runs/{run}"


def manifest_path(run: str, *, made: bool) -> str:
    """Where the documents' commands keep the images of a run: a set with edited images is named like its run."""
    return f"datasets/{run}/manifest.csv" if made else "datasets/open.csv"


def _chain(origin: StartedFrom | None) -> Iterable[StartedFrom]:
    """What a run began with, then what that began with."""
    while origin is not None:
        yield origin
        origin = origin.started_from


def _interval(metric: Metric) -> str:
    return f"{metric.interval95[0]:.3f} to {metric.interval95[1]:.3f}" if metric.interval95 else ""
