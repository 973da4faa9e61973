"""The folder of results: ``run.json`` says what the run is, ``results/00042.parquet`` has the images of shard 42.

``shards.jsonl`` counts what is in each shard. A shard is there as a whole or not at all; it is done once its line is
there too, so that what is missing is what is left to do.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from contract.bundle import MANIFEST_NAME, Bundle, sha256_of
from contract.files import UNFINISHED, replacing, write_text
from service.engine.sessions import served_file
from service.jobs.exit_codes import JobError
from service.jobs.files import lock
from service.jobs.records import STAMP, Record, write
from service.jobs.score.archive import any_relative
from service.serving.answers import ModelStamp
from service.settings import Settings

RUN: Final = "run.json"
SHARDS: Final = "shards.jsonl"
_LOCK: Final = ".lock"
_FLAGS: Final = {True: "flagged", False: "not_flagged", None: "not_answered"}


def run_of(
    settings: Settings, bundle: Bundle, paths: Sequence[str], *, shard_size: int, format: str
) -> dict[str, str | int | None]:
    """Everything that decides what stands in which file of results, by the name that people know."""
    stamp = msgspec.to_builtins(ModelStamp.of(bundle, served_file(bundle, settings.device, settings.precision)))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(os.fsencode(path) + b"\0")
    return {
        "layout": 4,
        "bundle (SHA-256 of its bundle.json)": sha256_of(bundle.root / MANIFEST_NAME),
        **{f"model {name}": str(stamp[name]) for name in STAMP},
        "HAL_FIT": settings.fit,
        "HAL_MAX_IMAGE_BYTES": settings.max_image_bytes,
        "HAL_MAX_PIXELS": settings.max_pixels,
        "number of images": len(paths),
        "list of images (SHA-256)": digest.hexdigest(),
        "working directory, on which relative paths depend": os.getcwd() if any_relative(paths) else None,  # noqa: PTH109
        "--shard-size": shard_size,
        "--format": format,
    }


class Store:
    """The results of one run in ``root``, held by one process.

    Raises:
        JobError: the results there are of another run, the folder is not one of ours, or another process works on it.
    """

    def __init__(self, root: Path, run: dict[str, str | int | None]) -> None:
        self.root = root
        self.results = root / "results"
        self._size = int(run["--shard-size"] or 1)
        self._images = int(run["number of images"] or 0)
        self._format = f".{run['--format']}"
        self._done: dict[int, dict[str, Any]] = {}
        self._parts: dict[int, dict[int, Sequence[Record]]] = {}
        if root.exists() and not root.is_dir():
            raise JobError(f"--out {root} is a file; expected a folder, which is made if it is not there")
        known = root / RUN
        if root.is_dir() and not known.exists() and any(name.name != _LOCK for name in root.iterdir()):
            raise JobError(f"--out {root} has files that are not of 'hal score'; choose an empty or new folder")
        self.results.mkdir(parents=True, exist_ok=True)
        self._lock = (root / _LOCK).open("w")
        try:
            lock(self._lock, root, "hal score")
            if known.exists():
                self._compare(known, run)
            else:
                write_text(known, json.dumps(run, indent=2) + "\n")
            for left_over in self.results.glob(f"*{UNFINISHED}"):
                left_over.unlink()
            self._read_done()
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    @property
    def shards(self) -> range:
        return range(-(-self._images // self._size))

    def path(self, shard: int) -> Path:
        return self.results / f"{shard:0{max(5, len(str(len(self.shards) - 1)))}d}{self._format}"

    def images(self, shard: int) -> range:
        """The places of a shard's images in the list."""
        return range(shard * self._size, min((shard + 1) * self._size, self._images))

    def todo(self, *, retry_refused: bool) -> list[int]:
        """The shards that are left to do, with ``retry_refused`` also those that have refused images."""
        for shard in [*self._done]:
            path, line = self.path(shard), self._done[shard]
            if not path.exists() or (retry_refused and line["refused"]):
                del self._done[shard]
            elif path.stat().st_size != line["bytes"]:
                raise JobError(
                    f"{path} is damaged: it has {path.stat().st_size} bytes, expected {line['bytes']}. Remove it and "
                    "run again: only its images are scored again"
                )
        return [shard for shard in self.shards if shard not in self._done]

    def add(self, shard: int, start: int, records: Sequence[Record]) -> None:
        """Take the records of the images from ``start`` on; a shard that is complete is kept, and nothing loses it."""
        parts = self._parts.setdefault(shard, {})
        parts[start] = records
        if sum(map(len, parts.values())) == len(self.images(shard)):
            self._write(shard, [record for at in sorted(parts) for record in parts[at]])
            del self._parts[shard]

    def _write(self, shard: int, records: Sequence[Record]) -> None:
        with replacing(self.path(shard)) as unfinished:
            write(unfinished, self._format, records)
        good = [record for record in records if "error" not in record]
        self._done[shard] = {
            "shard": shard,
            "bytes": self.path(shard).stat().st_size,
            "class_id": Counter(record["class_id"] for record in good),
            "hairy_cell": Counter(_FLAGS[record["hairy_cell"]["flag"]] for record in good),
            "unfamiliar": sum((record.get("novelty") or {}).get("unfamiliar", False) for record in good),
            "refused": [(r["path"], r["error"]["code"], r["error"]["message"]) for r in records if "error" in r],
        }
        with (self.root / SHARDS).open("a", encoding="utf-8") as stream:
            print(json.dumps(self._done[shard]), file=stream)

    def refused(self) -> list[tuple[str, str]]:
        return [(path, message) for shard in sorted(self._done) for path, _, message in self._done[shard]["refused"]]

    def summary(self) -> dict[str, Any]:
        """What is in all shards that are done; kept as ``summary.json``."""
        classes: Counter[str] = Counter()
        hairy = Counter(dict.fromkeys(_FLAGS.values(), 0))
        refused: Counter[str] = Counter()
        unfamiliar = sum(line["unfamiliar"] for line in self._done.values())
        for line in self._done.values():
            classes.update(line["class_id"])
            hairy.update(line["hairy_cell"])
            refused.update(code for _, code, _ in line["refused"])
        document = {
            "images": classes.total() + refused.total(),
            "classified": classes.total(),
            "class_id": dict(classes.most_common()),
            "hairy_cell": dict(hairy),
            "unfamiliar": unfamiliar,
            "refused": dict(refused.most_common()),
        }
        write_text(self.root / "summary.json", json.dumps(document, indent=2) + "\n")
        return document

    def _compare(self, known: Path, run: dict[str, str | int | None]) -> None:
        try:
            there = dict(json.loads(known.read_bytes()))
        except (ValueError, TypeError) as error:
            raise JobError(
                f"{known} was not written by this version of 'hal score' ({error}); choose another --out"
            ) from error
        if differences := [
            f"  - {name} {there.get(name)} there, {run.get(name)} now"
            for name in {**there, **run}
            if there.get(name) != run.get(name)
        ]:
            raise JobError(
                f"the results in {self.root} are of another run:\n"
                + "\n".join(differences)
                + "\nResults are never mixed: name the same images, bundle and settings again, or choose another --out."
            )

    def _read_done(self) -> None:
        path = self.root / SHARDS
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for line in lines:
            try:
                counted = json.loads(line)
            except ValueError:
                # What a kill or a full disk cut off: its shard is scored again.
                continue
            self._done[counted["shard"]] = counted
