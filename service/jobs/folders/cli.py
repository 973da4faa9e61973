"""``hal classify``: its options."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from service.jobs.folders.endings import ALL_CLASSIFIED, SOME_REFUSED, explained, fail

if TYPE_CHECKING:
    from service.jobs.folders.run import Tally
    from service.jobs.folders.sources import Source

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
    tried again. Results of another model are never mixed.

    Exit code: 0 all images are classified; 1 wrong usage, model or service; 2 some images were refused (listed at the
    end, and in --out with their reasons); 130 stopped.

    Examples: hal classify slide-4711/

    hal classify archive/ --out results.csv --url http://127.0.0.1:8000
    """
    local = {"bundle": bundle, "device": device, "precision": precision, "max_batch": max_batch, "fit": fit}
    given = ", ".join(f"--{name.replace('_', '-')}" for name, value in local.items() if value is not None)
    if url is not None and given:
        fail(_COMMAND, f"{given} cannot be used with --url: the service has its own settings")
    with explained(_COMMAND, stopped="with --out, run the same command again to go on"):
        from service.jobs.folders import console
        from service.jobs.folders.files import find
        from service.jobs.folders.results import Results
        from service.jobs.folders.run import left_to_do

        files = find(paths)
        source = (
            _in_process(local)
            if url is None
            else _over_http(url, _api_key(api_key_file), images_per_request, concurrency)
        )
        with Results(out) if out is not None else contextlib.nullcontext() as results:
            todo = left_to_do(files, results)
            records: list[dict[str, Any]] = []
            with console.progress(len(files), len(files) - len(todo)) as advance:

                def see(record: dict[str, Any]) -> None:
                    if results is None:
                        records.append(record)
                    advance()

                tally = _run(source, todo, results, see)
            if results is not None:
                results.finish()
            else:
                console.print_table(records)
        tally.skipped = len(files) - len(todo)
        console.print_tally(tally, f"; results in {out}" if out is not None else "")
    raise typer.Exit(SOME_REFUSED if tally.refused else ALL_CLASSIFIED)


def _run(source: "Source", todo: Any, results: Any, see: Any) -> "Tally":
    from service.jobs.folders.run import classify as run

    return asyncio.run(run(source, todo, results, see))


def _in_process(options: dict[str, Any]) -> "Source":
    from contract.bundle import load
    from service.environment import load_settings
    from service.jobs.folders.in_process import InProcess

    settings = load_settings(options)
    return InProcess(settings, load(settings.bundle))


def _over_http(url: str, api_key: str | None, images_per_request: int, concurrency: int) -> "Source":
    from service.jobs.folders.errors import FoldersError

    try:
        from service.jobs.folders.over_http import OverHttp
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise FoldersError("--url needs httpx, which is not installed: pip install 'hal-cells[client]'") from None
    try:
        return OverHttp(url, api_key, images_per_request=images_per_request, concurrency=concurrency)
    except ValueError as error:
        raise FoldersError(f"--url: {error}") from error


def _api_key(file: Path | None) -> str | None:
    from service.jobs.folders.errors import FoldersError

    if file is None:
        return os.environ.get(API_KEY) or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise FoldersError(f"--api-key-file {file} cannot be read: {error}") from error
