"""``hal data``: from folders of labelled images to a manifest that can be trained on."""

from pathlib import Path
from typing import Annotated

import typer

from training.data.splits import By
from training.errors import explained

app = typer.Typer(no_args_is_help=True, help="Turn folders of labelled images into a data manifest, and check it.")

PRESET_HELP = (
    "PRESET=FOLDER, repeated; presets: pbc, matek-marrow, mll23, aml-lmu, raabin, folder (your own images); or "
    "review=corrections.zip of the review page."
)
Exclude = Annotated[
    list[Path] | None,
    typer.Option(
        "--exclude", help="File with images to leave out: SHA-256, file names or paths, one a line; repeated."
    ),
]
Cap = Annotated[
    int | None,
    typer.Option(
        "--cap",
        min=1,
        help="At most so many training and validation images of a class from a source (the thesis: 5000).",
    ),
]
Together = Annotated[
    By | None,
    typer.Option(
        "--by", help="What stays together: image as in the thesis, or slide (and patient); default: slide where known."
    ),
]
ValidationShare = Annotated[float, typer.Option(min=0.01, max=0.9, help="Share held out for validation.")]
TestShare = Annotated[float, typer.Option(min=0.0, max=0.9, help="Share held out for the test.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the split and of the cap's choice.")]


@app.command("download")
def download(
    record: Annotated[str, typer.Argument(help="mll23, or a record of Zenodo: zenodo:NUMBER, or the number.")],
    out: Annotated[Path, typer.Option(help="Folder for its files.")],
    only: Annotated[
        list[str] | None, typer.Option(help="Only files of this name, such as 'hairy_cell*'; repeated.")
    ] = None,
    unpack: Annotated[bool, typer.Option(help="Unpack ZIP files, each into a folder of its name.")] = True,
    just_list: Annotated[bool, typer.Option("--list", help="Show the files and their sizes, and stop.")] = False,
    zenodo: Annotated[
        str, typer.Option(envvar="HAL_ZENODO_URL", help="Where Zenodo, or a mirror with its API, is.")
    ] = "https://zenodo.org",
) -> None:
    """Download a public data set from Zenodo; a download that was stopped goes on by the same command.

    Sizes and MD5 are compared with the record's, and the space on the disk with what is to come.

    Example: hal data download mll23 --out MLL23
    """
    with explained(lambda: "the same command goes on where it was"):
        from training.data.download import download as run

        run(record, out, only=only or (), unpack=unpack, just_list=just_list, zenodo=zenodo)


@app.command("prepare")
def prepare(
    sources: Annotated[list[str], typer.Option("--preset", help=PRESET_HELP)],
    out: Annotated[Path, typer.Option(help="The manifest to write, a CSV file.")],
    validation_share: ValidationShare = 0.2,
    test_share: TestShare = 0.0,
    by: Together = None,
    seed: Seed = 2022,
    cap: Cap = None,
    exclude: Exclude = None,
    mapping: Annotated[
        Path | None,
        typer.Option(help="For preset folder: a file of lines FOLDER=CLASS."),
    ] = None,
    like: Annotated[
        Path | None, typer.Option(help="images.csv of a bundle: take just its images, split as it was.")
    ] = None,
    leave_out_unreadable: Annotated[
        bool,
        typer.Option("--leave-out-unreadable", help="Go on without the images that cannot be decoded; each is named."),
    ] = False,
) -> None:
    """Write a manifest from public data sets or your own folders, with a seeded split.

    Every image is decoded as training would. Those that cannot be are all named, and nothing is written.

    Example: hal data prepare --preset pbc=PBC_dataset_normal_DIB --preset matek-marrow=BM_cytomorphology_data
    --out datasets/open.csv
    """
    if like is not None and (cap or exclude or by or test_share):
        raise typer.BadParameter("--like takes a bundle's images and split as they are; leave out --cap and the others")
    if mapping is not None and not any(source.startswith("folder=") for source in sources):
        raise typer.BadParameter("--mapping is for --preset folder=FOLDER, which is not given")
    with explained():
        from training.data.prepare import Choices
        from training.data.prepare import prepare as run

        choices = Choices(
            validation_share=validation_share, test_share=test_share, seed=seed, by=by, cap=cap, exclude=exclude or ()
        )
        run(sources, out, choices, like=like, mapping=mapping, leave_out_unreadable=leave_out_unreadable)


@app.command("split")
def split(
    manifest: Annotated[Path, typer.Argument(help="The manifest to read.")],
    out: Annotated[Path, typer.Option(help="The manifest to write.")],
    validation_share: ValidationShare = 0.2,
    test_share: TestShare = 0.0,
    by: Together = None,
    seed: Seed = 2022,
    cap: Cap = None,
    exclude: Exclude = None,
    afresh: Annotated[bool, typer.Option("--afresh", help="Forget the splits that the manifest has.")] = False,
    release: Annotated[
        float | None,
        typer.Option(
            "--release-validation",
            min=0.01,
            max=0.99,
            help="Instead, move this share of the validation images to training, to train a network further "
            "(hal train --start-from); the test images stay.",
        ),
    ] = None,
) -> None:
    """Split the images of a manifest that have no split yet; slides, patients and equal images stay together.

    Examples: hal data split datasets/mine.csv --by slide --test-share 0.15 --out datasets/mine-split.csv

    hal data split datasets/mine-split.csv --release-validation 0.5 --out datasets/mine-further.csv
    """
    if release is not None and (cap or exclude or by or test_share or afresh):
        raise typer.BadParameter("--release-validation only moves validation images; leave out --cap and the others")
    with explained():
        from training.data.prepare import Choices, release_validation, split_manifest

        if release is not None:
            release_validation(manifest, out, release, seed)
            return

        choices = Choices(
            validation_share=validation_share, test_share=test_share, seed=seed, by=by, cap=cap, exclude=exclude or ()
        )
        split_manifest(manifest, out, choices, afresh)


@app.command("check")
def check(
    manifest: Annotated[Path, typer.Argument(help="The manifest to check.")],
    fast: Annotated[bool, typer.Option("--fast", help="Do not decode the images.")] = False,
    shared_slides: Annotated[
        bool,
        typer.Option("--allow-shared-slides", help="A slide in two splits is only a warning (the thesis's split)."),
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings here, for machines.")] = None,
) -> None:
    """Find everything that is wrong with a manifest and its images, before any training; exit with 1 on errors.

    Example: hal data check datasets/open.csv --json findings.json
    """
    with explained():
        from rich.console import Console

        from training.data import check as checking

        found = checking.check(manifest, (lambda _: ()) if fast else list, shared_slides=shared_slides)
        checking.show(found, Console())
        if json is not None:
            checking.write_json(found, json)
    if found.errors:
        raise typer.Exit(1)
