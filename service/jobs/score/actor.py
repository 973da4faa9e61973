"""What each actor does: open the bundle once, then classify the images of one chunk after the other."""

import asyncio
import contextlib
import json
import logging
import os
import platform
import tempfile
import threading
import traceback
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow

from contract.bundle import MANIFEST_NAME, Bundle, BundleError, load
from service.errors import UserError
from service.jobs.files import ImageFile
from service.jobs.in_process import InProcess
from service.jobs.records import Record
from service.jobs.score.archive import is_url, read_all
from service.settings import Settings

CHUNKS_AT_ONCE: Final = 2
"""While the last images of one chunk are classified, the first of the next are read."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Job:
    """What every actor is told.

    ``bundle`` has the bundle's files by name, or says where it is on every machine; ``folder`` is the working
    directory, if paths depend on it.
    """

    settings: Settings
    bundle: Mapping[str, bytes] | Path
    folder: str | None


def files_of(bundle: Bundle) -> dict[str, bytes]:
    """The files of a bundle by name, to be sent to other machines."""
    names = [MANIFEST_NAME, *(part.path for part in bundle.description.parts)]
    return {name: (bundle.root / name).read_bytes() for name in names}


class Actor:
    """Opens the bundle once, then classifies the images of one chunk after the other.

    A fault that is not of one image is told with the answer: Ray Data takes an exception for the chunk's fault.
    """

    def __init__(self, job: Job) -> None:
        self._name = f"{platform.node()}:{os.getpid()}"
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="hal-score", daemon=True).start()
        self._fault: str | None = None
        logging.getLogger("hal").setLevel(logging.WARNING)
        try:
            if job.folder is not None:
                os.chdir(job.folder)
            self._opened = self._wait(self._open(job))
        except Exception as error:
            self._fault = _told(error)

    def __call__(self, chunks: pyarrow.Table) -> pyarrow.Table:
        """An arrow table of answers, as JSON, to one of chunks."""
        answers = [json.dumps(self._answer(row["chunk"], row["paths"])).encode() for row in chunks.to_pylist()]
        return pyarrow.table({"answers": pyarrow.array(answers, pyarrow.large_binary())})

    def _answer(self, chunk: list[int], paths: list[bytes]) -> dict[str, Any]:
        records = None
        if self._fault is None:
            try:
                records = self._wait(self._records([os.fsdecode(path) for path in paths]))
            except Exception as error:
                self._fault = _told(error)
        return {"chunk": chunk, "records": records, "actor": self._name, "fault": self._fault}

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Free the network. An actor that Ray ends is not asked."""
        if self._fault is None:
            self._wait(self._opened.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _records(self, paths: list[str]) -> list[Record]:
        files = [ImageFile(path, -1, 0) if is_url(path) else ImageFile.at(Path(path)) for path in paths]
        async with contextlib.aclosing(self._opened.records(files)) as records:
            return [record async for record in records]

    async def _open(self, job: Job) -> InProcess:
        with _on_disk(job.bundle) as folder:
            opened = InProcess(job.settings, load(folder), read=read_all, calls=CHUNKS_AT_ONCE)
            return await opened.__aenter__()


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, UserError | BundleError | OSError) else traceback.format_exc()


@contextlib.contextmanager
def _on_disk(bundle: Mapping[str, bytes] | Path) -> Iterator[Path]:
    if isinstance(bundle, Path):
        yield bundle
        return
    with tempfile.TemporaryDirectory(prefix="hal-bundle-") as folder:
        for name, data in bundle.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        yield Path(folder)
