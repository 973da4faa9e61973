"""``hal classify``: folders of images to a file of results, in this process or by a running service."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from service.jobs.exit_codes import ALL_CLASSIFIED, SOME_REFUSED, JobError, explained, fail, stop_by_sigterm

if TYPE_CHECKING:
    from service.jobs.console import Tally
    from service.jobs.files import ImageFile
    from service.jobs.in_process import InProcess
    from service.jobs.journal import Journal
    from service.jobs.over_http import OverHttp

API_KEY: Final = "HAL_API_KEY"
_COMMAND: Final = "hal classify"


def classify(
    paths: Annotated[list[Path], typer.Argument(help="Images, or folders with images in them.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Results as .csv, .jsonl or .parquet. Run again to go on or to add images. Not given: a table."
        ),
    ] = None,
    url: Annotated[str | None, typer.Option(help="A running service; not given: classify in this process.")] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with the service's API key; else HAL_API_KEY holds the key.")
    ] = None,
    images_per_request: Annotated[int, typer.Option(min=1, help="With --url: images in a request.")] = 32,
    concurrency: Annotated[int, typer.Option(min=1, help="With --url: requests at once.")] = 4,
    bundle: Annotated[Path | None, typer.Option(help="Without --url: folder of the bundle (HAL_BUNDLE).")] = None,
    device: Annotated[str | None, typer.Option(help="Without --url: auto, cpu, cuda or tensorrt (HAL_DEVICE).")] = None,
    precision: Annotated[str | None, typer.Option(help="Without --url: float32, float16 or int8.")] = None,
    max_batch: Annotated[int | None, typer.Option(help="Without --url: most images in a batch.")] = None,
    fit: Annotated[str | None, typer.Option(help="Without --url: strict, crop or pad (HAL_FIT).")] = None,
) -> None:
    """Classify folders of images, in this process or by a running service.

    Run the same command again after a stop or a kill: what is in --out and unchanged is skipped, refused images are
    tried again. The journal beside it (NAME.journal) makes that possible: keep it as long as images may be added.
    Results of another model are never mixed.

    Exit code: 0 all images are classified; 1 wrong usage, model or service; 2 images were refused or left out (listed
    at the end, refused ones also in --out); 130 stopped.

    Examples: hal classify slide-4711/

    hal classify archive/ --out results.csv --url http://127.0.0.1:8000
    """
    local = {"bundle": bundle, "device": device, "precision": precision, "max_batch": max_batch, "fit": fit}
    given = ", ".join(f"--{name.replace('_', '-')}" for name, value in local.items() if value is not None)
    if url is not None and given:
        fail(_COMMAND, f"{given} cannot be used with --url: the service has its own settings")
    with explained(_COMMAND, stopped="with --out, run the same command again to go on"):
        stop_by_sigterm()
        from service.jobs import console
        from service.jobs.files import ImageFile, find
        from service.jobs.journal import Journal

        found = find(paths)
        files = [ImageFile.at(path) for path in found.images]
        source = _in_process(local) if url is None else _over_http(url, api_key_file, images_per_request, concurrency)
        tally = console.Tally(found.problems, found.others)
        with Journal(out) if out is not None else contextlib.nullcontext() as journal:
            todo = files if journal is None else [file for file in files if not journal.has(file)]
            tally.skipped = len(files) - len(todo)
            table: list[dict[str, Any]] = []
            with console.progress(len(files), tally.skipped) as advance:
                asyncio.run(_classify(source, todo, journal, tally, table, advance))
            if journal is not None:
                journal.finish()
            else:
                console.print_table(table)
        console.print_tally(tally, f"; results in {out}" if out is not None else "")
    raise typer.Exit(ALL_CLASSIFIED if tally.complete else SOME_REFUSED)


async def _classify(
    source: "InProcess | OverHttp",
    files: Sequence["ImageFile"],
    journal: "Journal | None",
    tally: "Tally",
    table: list[dict[str, Any]],
    advance: Callable[[], None],
) -> None:
    if journal is not None and source.stamp is not None:
        journal.expect(source.stamp)
    if not files:
        return
    async with source, contextlib.aclosing(source.records(files)) as records:
        async for record in records:
            if journal is not None:
                journal.add(record)
            else:
                table.append(record)
            tally.count(record)
            advance()


def _in_process(options: dict[str, Any]) -> "InProcess":
    from contract.bundle import load
    from service.environment import load_settings
    from service.jobs.in_process import InProcess

    settings = load_settings(options)
    return InProcess(settings, load(settings.bundle))


def _over_http(url: str, api_key_file: Path | None, images_per_request: int, concurrency: int) -> "OverHttp":
    from service.jobs.over_http import OverHttp

    try:
        key = os.environ.get(API_KEY) if api_key_file is None else api_key_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"--api-key-file {api_key_file} cannot be read: {error}") from error
    return OverHttp(url, key or None, images_per_request=images_per_request, concurrency=concurrency)
