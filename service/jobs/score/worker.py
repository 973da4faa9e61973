"""What each worker does: open the bundle once, then classify the images of one piece after the other."""

import asyncio
import contextlib
import json
import logging
import os
import platform
import tempfile
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import pyarrow

from contract.bundle import MANIFEST_NAME, Bundle, BundleError, load
from service.engine.onnx import EngineError
from service.jobs.folders.files import ImageFile
from service.jobs.folders.in_process import OpenBundle
from service.jobs.folders.records import Record, record_of
from service.jobs.score.images import is_url, read_all
from service.settings import Settings

PIECES_AT_ONCE: Final = 2
"""While the last images of one piece are classified, the first of the next are read."""

MOST_TRIES: Final = 2
"""Of one piece, if its worker dies."""

Begin: TypeAlias = Callable[[tuple[int, int, int]], int]
"""Of round, start and stop of a piece."""
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker needs to know.

    Attributes:
        settings: of the service.
        bundle: the bundle's files by name, or where it is on every machine.
        folder: the working directory, if paths depend on it.
    """

    settings: Settings
    bundle: Mapping[str, bytes] | Path
    folder: str | None


def files_of(bundle: Bundle) -> dict[str, bytes]:
    """The files of a bundle by name, to be sent to other machines."""
    manifest = bundle.description
    names = [MANIFEST_NAME, *(file.path for file in manifest.files), manifest.golden.path]
    if manifest.reference is not None:
        names.append(manifest.reference.path)
    return {name: (bundle.root / name).read_bytes() for name in names}


class Worker:
    """Classifies pieces; Ray makes one in each process of its own.

    A fault that is not of one image is told with the answer, not raised: Ray would try again for ever. So it would if a
    worker dies, and so each piece is begun a few times only.

    Args:
        orders: what to do.
        begin: told when a piece is begun; gives how often it was begun in this round, by any worker.
    """

    def __init__(self, orders: Orders, begin: Begin) -> None:
        self._begin = begin
        self._name = f"{platform.node()}:{os.getpid()}"
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="hal-score", daemon=True).start()
        self._fault: str | None = None
        try:
            logging.getLogger("hal").setLevel(logging.WARNING)
            if orders.folder is not None:
                os.chdir(orders.folder)
            self._opened = self._wait(self._open(orders))
        except (BundleError, EngineError, OSError) as error:
            self._fault = str(error)
        except Exception:
            self._fault = traceback.format_exc()

    def __call__(self, pieces: pyarrow.Table) -> pyarrow.Table:
        """The answers to pieces.

        Args:
            pieces: ``round``, ``shard``, ``start``, ``stop`` and ``paths`` (bytes) of each.

        Returns:
            ``answers``: each as JSON with ``piece``, ``records`` (null if its worker died each time), ``worker``,
            ``tries`` and ``fault`` (null unless the worker cannot work).
        """
        answers = [json.dumps(self._answer(piece)).encode() for piece in pieces.to_pylist()]
        return pyarrow.table({"answers": pyarrow.array(answers, pyarrow.large_binary())})

    def close(self) -> None:
        """Free the network. A worker that Ray ends is not asked."""
        if self._fault is None:
            self._wait(self._opened.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _answer(self, piece: dict[str, Any]) -> dict[str, Any]:
        records, tries = None, self._begin((piece["round"], piece["start"], piece["stop"]))
        if self._fault is None and tries <= MOST_TRIES:
            try:
                records = self._wait(self._records([os.fsdecode(path) for path in piece["paths"]]))
            except Exception:
                self._fault = traceback.format_exc()
        place = [piece[name] for name in ("shard", "start", "stop")]
        return {"piece": place, "records": records, "worker": self._name, "tries": tries, "fault": self._fault}

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self, orders: Orders) -> OpenBundle:
        with _on_disk(orders.bundle) as folder:
            opened = OpenBundle(orders.settings, load(folder), read=read_all, calls=PIECES_AT_ONCE)
            return await opened.__aenter__()

    async def _records(self, paths: list[str]) -> list[Record]:
        files = await asyncio.to_thread(lambda: [_found(path) for path in paths])
        async with contextlib.aclosing(self._opened.outcomes(files)) as outcomes:
            return [record_of(outcome.file, outcome.result, outcome.model) async for outcome in outcomes]


def _found(path: str) -> ImageFile:
    return ImageFile(path, -1, 0) if is_url(path) else ImageFile.at(Path(path))


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
