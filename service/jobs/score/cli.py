"""``hal score``: its options, and the way from a list of images to a folder of results."""

import os
import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from service.jobs.exit_codes import ALL_CLASSIFIED, SOME_REFUSED, JobError, explained, stop_by_sigterm

_COMMAND: Final = "hal score"
_BATCHES_A_CHUNK: Final = 16
_USUAL_BATCH: Final = 16
_LIBRARIES: Final = ("ray", "fsspec", "psutil", "pyarrow")


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
        int | None, typer.Option(min=1, help="Threads of each network (HAL_ENGINE_THREADS); else: cores / workers.")
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
    with explained(_COMMAND, stopped="run the same command again to go on"):
        stop_by_sigterm()
        if missing := [name for name in _LIBRARIES if find_spec(name) is None]:
            raise JobError(
                f"{', '.join(missing)} not installed; in the folder of HAL's source: "
                ".venv/bin/pip install -e '.[score]'"
            )
        from contract.bundle import load
        from service.environment import load_settings
        from service.jobs import console
        from service.jobs.score.archive import any_relative, find
        from service.jobs.score.store import Store, run_of

        # Each actor would keep an audit trail of its own in the same place; the results say as much.
        settings = load_settings(options).model_copy(update={"audit": None})
        opened = load(settings.bundle)
        paths, here = find(images)
        run = run_of(settings, opened, paths, shard_size=shard_size, format=format)
        tally = console.Tally(here.problems, here.others)
        with Store(out, run) as store:
            todo = store.todo(retry_refused=retry_refused)
            left = sum(len(store.images(shard)) for shard in todo)
            tally.skipped = store.summary()["classified"]
            actors: set[str] = set()
            threads = threads or settings.engine_threads or None
            if todo:
                _ray_environment(local=address is None)
                from service.jobs.score import pool
                from service.jobs.score.actor import Job, files_of

                folder = str(Path.cwd()) if any_relative(paths) else None
                with (
                    pool.cluster(address, workers, threads),
                    console.progress(len(paths), len(paths) - left) as advance,
                ):
                    share = pool.share(settings.device, workers, threads)
                    told = {"engine_threads": share.threads, "decode_threads": share.threads}
                    sent = opened.root.resolve() if address is None else files_of(opened)
                    job = Job(settings.model_copy(update=told), sent, folder)
                    size = _BATCHES_A_CHUNK * (settings.max_batch or _USUAL_BATCH)
                    places = [(shard, store.images(shard)) for shard in todo]
                    whole = [pool.Chunk(shard, images.start, images.stop) for shard, images in places]
                    chunks = [chunk for shard in whole for chunk in shard.cut(size)]
                    for scored in pool.score(job, share, paths, chunks):
                        store.add(scored.chunk.shard, scored.chunk.start, scored.records)
                        actors.add(scored.actor)
                        advance(len(scored.records))
            summary = store.summary()
            tally.classified = summary["classified"] - tally.skipped
            tally.refused = store.refused()
            by = f" by {len(actors - {''})} workers" if todo else ""
            console.print_counts(summary)
            console.print_tally(tally, f"{by}; results in {store.results}, summary in {out / 'summary.json'}")
    raise typer.Exit(ALL_CLASSIFIED if tally.complete else SOME_REFUSED)


def _ray_environment(*, local: bool) -> None:
    """What Ray reads when it is imported. Nothing is reported to its makers.

    The processes of a cluster of this machine's own want a token that only they know: some of their ports listen to
    the network, and whoever speaks to them runs code.
    """
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    if local:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
