"""``hal data prepare``: from downloaded folders to a manifest with a seeded split."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from contract.bundle import sha256_of
from contract.classes import CLASS_NAMES
from training.data import image_list, manifest, presets


def prepare(sources: Iterable[str], out: Path, validation_share: float, seed: int, like: Path | None = None) -> None:
    """Read the folders, drop what cannot be used and say so, split, and write the manifest.

    Args:
        sources: ``PRESET=FOLDER`` items.
        out: the CSV file.
        validation_share: between 0 and 1.
        seed: of the split.
        like: image list of a bundle; take its images and its split instead of splitting.

    Raises:
        SourceError: an unknown preset, a missing folder, or one without images.
        ManifestError: an image of the list is missing.
    """
    console = Console()
    images, skipped = presets.read([_source(item) for item in sources])
    hashes = {image.path: sha256_of(image.path) for image in images}
    unique = manifest.deduplicate(images, hashes.__getitem__)
    if like is None:
        split = manifest.split(unique.images, validation_share, seed, hashes.__getitem__)
    else:
        split = image_list.select(like, unique.images, hashes.__getitem__)
    manifest.write(out, split)

    for reason, count in Counter(item.reason for item in skipped).most_common():
        console.print(f"left out {count}: {reason}", highlight=False)
    if unique.repeated:
        console.print(f"left out {len(unique.repeated)}: same bytes as another image", highlight=False)
    if unique.conflicting:
        console.print(f"left out {len(unique.conflicting)}: same bytes as an image with another label", highlight=False)
    console.print(_table(split))
    fingerprint = manifest.fingerprint(split, hashes.__getitem__)
    console.print(f"{len(split)} images in {out}, fingerprint {fingerprint}", highlight=False)


def _source(item: str) -> tuple[presets.Preset, Path]:
    name, separator, folder = item.partition("=")
    if not separator or name not in presets.PRESETS:
        raise presets.SourceError(f"{item!r} is not PRESET=FOLDER with a preset among {', '.join(presets.PRESETS)}")
    if not Path(folder).is_dir():
        raise presets.SourceError(f"{item!r} names a folder that does not exist")
    return presets.PRESETS[name], Path(folder)


def _table(images: list[manifest.LabelledImage]) -> Table:
    table = Table("Class", title="Images by class and split")
    counts = manifest.counts(images)
    for name in manifest.SPLITS:
        table.add_column(name, justify="right")
    for label in CLASS_NAMES:
        table.add_row(label, *(str(counts[label, name] or "") for name in manifest.SPLITS))
    return table
