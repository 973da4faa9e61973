"""``hal score``: its options."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from contract.termination import nothing_left_running, stopped_by_sigterm
from service.jobs.folders.endings import ALL_CLASSIFIED, SOME_REFUSED, explained

if TYPE_CHECKING:
    from contract.bundle import Bundle
    from service.jobs.score.run import Score
    from service.settings import Settings

_COMMAND: Final = "hal score"
_BATCHES_A_PIECE: Final = 16
_USUAL_BATCH: Final = 16
_LIBRARIES: Final = ("ray", "fsspec", "pyarrow")


def score(
    images: Annotated[
        list[str],
        typer.Argument(
            help="Folders, patterns ('archive/*/cells'), lists of paths (.csv or .parquet with a column 'path') or "
            "images; on disk or behind a URL that fsspec reads (s3://, gs://, https://).",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of results; run again to go on.", show_default=False)],
    address: Annotated[
        str | None,
        typer.Option(help="A Ray cluster: 'auto' on one of its machines, or HOST:PORT; not given: this machine alone."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes with a network each; not given: one for every core or GPU.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of each network (HAL_ENGINE_THREADS); else: cores / workers."),
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Images in a file of results.")] = 1000,
    format: Annotated[Literal["parquet", "jsonl", "csv"], typer.Option(help="Of the files of results.")] = "parquet",
    retry_refused: Annotated[
        bool, typer.Option("--retry-refused", help="Score shards with refused images again.")
    ] = False,
    bundle: Annotated[Path | None, typer.Option(help="Folder of the bundle (HAL_BUNDLE).")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or tensorrt (HAL_DEVICE).")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, float16 or int8.")] = None,
    max_batch: Annotated[int | None, typer.Option(help="Most images in a batch.")] = None,
    fit: Annotated[str | None, typer.Option(help="strict, crop or pad (HAL_FIT).")] = None,
) -> None:
    """Score an archive of images with many workers, on this machine or on a Ray cluster.

    For a folder or two 'hal classify' is enough, and gives the same rows. This is for millions: the sorted list of
    images is cut into shards, and each becomes one file in OUT/results as a whole or not at all.

    Run the same command again after a stop, a kill or a power cut: only the shards that are missing are scored. Another
    bundle, list or setting is refused, never mixed in. A worker that dies is replaced and its images are scored again.
    An image that cannot be read, or decoded, or that kills its worker becomes a row with the error.

    Exit code: 0 all images are classified; 1 wrong usage, model or cluster; 2 some images were refused (listed at the
    end, and in the results with their reasons); 130 stopped.

    Examples: hal score archive/ --out scores

    hal score 's3://lab/2024/*/cells' --out scores --address auto

    hal score images.parquet --out scores --workers 4
    """
    options = {"bundle": bundle, "device": device, "precision": precision, "max_batch": max_batch, "fit": fit}
    with explained(_COMMAND, stopped="run the same command again to go on"), nothing_left_running():
        _check_installed()
        from contract.bundle import load
        from service.environment import load_settings
        from service.jobs.folders import console
        from service.jobs.score.images import find
        from service.jobs.score.plan import Plan
        from service.jobs.score.run import look, score_shards
        from service.jobs.score.store import Store

        # Each worker would keep an audit trail of its own in the same place; the results say as much.
        settings = load_settings(options).model_copy(update={"audit": None})
        opened = load(settings.bundle)
        paths = find(images)
        threads = threads or settings.engine_threads or None
        plan = Plan.of(settings, opened, paths, shard_size=shard_size, format=format)
        with Store(out, plan) as store:
            summary, todo = look(store, again=retry_refused)
            if todo:
                left = sum(len(store.images(shard)) for shard in todo)
                with (
                    _crew(settings, opened, plan.working_directory, paths, address, workers, threads) as crew,
                    # Ray has taken SIGTERM for itself.
                    stopped_by_sigterm(),
                    console.progress(len(paths), len(paths) - left) as advance,
                ):
                    score_shards(
                        crew,
                        store,
                        paths,
                        todo,
                        piece_size=_BATCHES_A_PIECE * (settings.max_batch or _USUAL_BATCH),
                        summary=summary,
                        see=advance,
                    )
            store.write_summary(summary.document())
            by = f" by {len(summary.workers)} workers" if todo else ""
            if summary.tried_again:
                by += f", {summary.tried_again} pieces again after a worker died"
            console.print_counts(summary.classes, summary.hairy, summary.refused)
            console.print_tally(summary.tally, f"{by}; results in {store.results}, summary in {store.summary}")
    raise typer.Exit(SOME_REFUSED if summary.tally.refused else ALL_CLASSIFIED)


@contextlib.contextmanager
def _crew(
    settings: "Settings",
    bundle: "Bundle",
    folder: str | None,
    paths: list[str],
    address: str | None,
    workers: int | None,
    threads: int | None,
) -> Iterator["Score"]:
    """Workers, and Ray only if there is something to do."""
    from service.jobs.score.environment import environment

    with environment(local=address is None):
        from service.jobs.score.crew import Crew
        from service.jobs.score.ray_cluster import cluster, share
        from service.jobs.score.worker import Orders, files_of

        with cluster(address, workers, threads):
            has = share(settings.device, workers, threads)
            told: dict[str, Any] = {"engine_threads": has.threads, "decode_threads": has.threads}
            orders = Orders(
                settings=settings.model_copy(update=told),
                bundle=bundle.root.resolve() if address is None else files_of(bundle),
                folder=folder,
            )
            yield Crew(orders, has, paths).score


def _check_installed() -> None:
    from importlib.util import find_spec

    from service.jobs.score.errors import ScoreError

    if missing := [name for name in _LIBRARIES if find_spec(name) is None]:
        raise ScoreError(f"{', '.join(missing)} not installed: pip install 'hal-cells[service,score]'")
