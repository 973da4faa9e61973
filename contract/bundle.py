"""A bundle: one folder that holds a trained model and everything that must be known to serve it honestly.

:mod:`contract.description` describes its ``bundle.json``; :func:`load` verifies a folder against it.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from contract.classes import CLASS_COUNT
from contract.description import BundleDescription
from contract.files import write_text
from contract.novelty import NoveltyBasis
from contract.parts import IMAGE_SIDE, ModelFile, Precision

MANIFEST_NAME: Final = "bundle.json"
_Expected: TypeAlias = dict[str, tuple[tuple[int, ...], str]]
"""Shape and type of each array of a file."""


class BundleError(Exception):
    """A bundle cannot be used; the message says what was wrong, what was expected and what to do."""


class BundleNotFoundError(BundleError):
    """There is no ``bundle.json`` where one was expected."""


class BundleInvalidError(BundleError):
    """``bundle.json`` breaks the contract; ``problems`` lists every breach."""

    def __init__(self, path: Path, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"{path} is not a valid bundle:\n" + "\n".join(f"  - {problem}" for problem in self.problems))


class BundleCorruptError(BundleError):
    """Files of the bundle are missing or are not the files that were exported; ``problems`` lists every one."""

    def __init__(self, root: Path, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            f"the files of bundle {root} are not the ones that were exported:\n"
            + "\n".join(f"  - {problem}" for problem in self.problems)
            + "\nCopy the bundle again from where it was exported; never edit its files."
        )


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle on disk."""

    root: Path
    description: BundleDescription

    def file(self, precision: Precision | None = None) -> ModelFile:
        """The ONNX file of ``precision``, or the bundle's first when ``None``.

        Raises:
            BundleError: the bundle has no file of that precision.
        """
        if precision is None:
            return self.description.files[0]
        for file in self.description.files:
            if file.precision == precision:
                return file
        available = ", ".join(file.precision for file in self.description.files)
        raise BundleError(
            f"bundle {self.description.name} {self.description.version} has no {precision} file, only {available}; "
            f"choose one of those or export again with --precision {precision}"
        )

    def path(self, file: ModelFile) -> Path:
        """Where ``file`` is on disk."""
        return self.root / file.path

    def golden(self) -> dict[str, NDArray[Any]]:
        """The golden sample: ``images`` and ``logits_<precision>`` (see :class:`GoldenSample`).

        Raises:
            BundleInvalidError: the file is not an ``.npz``, or an array is missing or of the wrong shape.
        """
        count = self.description.golden.images
        expected: _Expected = {"images": ((count, IMAGE_SIDE, IMAGE_SIDE, 3), "uint8")}
        for file in self.description.files:
            expected[f"logits_{file.precision}"] = ((count, CLASS_COUNT), "float32")
        return self._arrays(self.description.golden.path, expected)

    def reference(self) -> dict[str, NDArray[Any]] | None:
        """``mean`` and ``class_means`` (see :class:`EmbeddingReference`); ``None`` where the bundle has none.

        Raises:
            BundleInvalidError: the file is not an ``.npz``, or an array is missing or of the wrong shape.
        """
        if self.description.reference is None:
            return None
        size = self.description.outputs[1].size
        expected: _Expected = {"mean": ((size,), "float32"), "class_means": ((CLASS_COUNT, size), "float32")}
        return self._arrays(self.description.reference.path, expected)

    def reference_cells(self) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """Embeddings ``(k, 2048)`` and class indices ``(k,)`` of labelled images; ``None`` where the bundle has none.

        Raises:
            BundleInvalidError: the arrays do not fit together.
        """
        arrays = self.reference()
        if self.description.reference is None or arrays is None or "cell_labels" not in arrays:
            return None
        count, size = len(arrays["cell_labels"]), self.description.outputs[1].size
        expected: _Expected = {"cells": ((count, size), "float16"), "cell_labels": ((count,), "int64")}
        arrays = self._arrays(self.description.reference.path, expected)
        return arrays["cells"].astype(np.float32), arrays["cell_labels"]

    def novelty(self) -> NoveltyBasis | None:
        """What unfamiliar images are told by; ``None`` where the bundle has none.

        Raises:
            BundleInvalidError: the file is not an ``.npz``, or an array is missing or of the wrong shape.
        """
        described = self.description.novelty
        if described is None:
            return None
        size = self.description.feature_size
        expected: _Expected = {"mean": ((size,), "float32"), "components": ((described.components, size), "float32")}
        if len(self.description.outputs) > 2:
            expected["weights"] = ((size,), "float32")
        arrays = self._arrays(described.path, expected)
        weights = arrays["weights"] if "weights" in expected else np.ones(size, np.float32)
        return NoveltyBasis(arrays["mean"], weights, arrays["components"], described.threshold)

    def _arrays(self, name: str, expected: _Expected) -> dict[str, NDArray[Any]]:
        path = self.root / name
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (OSError, EOFError, TypeError, ValueError, BadZipFile) as error:
            raise BundleInvalidError(path, [f"cannot be read as an .npz of plain arrays: {error}"]) from error
        problems = [
            f"array {name!r} is {_describe(arrays.get(name))}, expected {dtype} {shape}"
            for name, (shape, dtype) in expected.items()
            if name not in arrays or arrays[name].shape != shape or arrays[name].dtype != dtype
        ]
        if problems:
            raise BundleInvalidError(path, problems)
        return arrays


def _describe(array: NDArray[Any] | None) -> str:
    return "missing" if array is None else f"{array.dtype} {array.shape}"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_description(root: Path) -> BundleDescription:
    """Read and validate ``root/bundle.json`` without touching the other files.

    Raises:
        BundleNotFoundError: there is no such file.
        BundleInvalidError: it is not JSON or breaks the contract; every breach is listed.
    """
    path = root / MANIFEST_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise BundleNotFoundError(
            f"no {MANIFEST_NAME} in {root}{_instead(root)}; point HAL_BUNDLE (or --bundle) at a folder written by "
            "'hal export', for example models/hal-c/3"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleInvalidError(path, [f"cannot be read: {error}"]) from error
    try:
        return BundleDescription.model_validate_json(text)
    except ValidationError as error:
        raise BundleInvalidError(path, (_breach(detail) for detail in error.errors())) from error


def _instead(root: Path) -> str:
    """What there is where no bundle is, for people: a relative path often begins in another folder than they think."""
    if not root.is_dir():
        return f" (there is no folder {root.resolve()})"
    within = sorted(str(path.parent) for path in root.glob(f"*/{MANIFEST_NAME}"))
    return f" (but there is one in {', '.join(within[:3])})" if within else ""


def _breach(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "bundle.json"
    return f"{where}: {detail['msg'].removeprefix('Value error, ')}"


def load(root: Path) -> Bundle:
    """Read ``root/bundle.json`` and verify every file that it names by size and SHA-256.

    Raises:
        BundleNotFoundError, BundleInvalidError: see :func:`read_description`.
        BundleCorruptError: a file is missing or altered; every one is listed.
    """
    description = read_description(root)
    problems = []
    sizes = {file.path: file.bytes for file in description.files}
    for name, expected in ((part.path, part.sha256) for part in description.parts):
        path = root / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif (size := path.stat().st_size) != sizes.get(name, size):
            problems.append(f"{name} has {size} bytes, expected {sizes[name]}")
        elif (found := sha256_of(path)) != expected:
            problems.append(f"{name} has SHA-256 {found}, expected {expected}")
    if problems:
        raise BundleCorruptError(root, problems)
    bundle = Bundle(root, description)
    bundle.golden()
    bundle.reference_cells()
    bundle.novelty()
    return bundle


def write(root: Path, description: BundleDescription) -> Bundle:
    """Write ``bundle.json`` beside the files it names, then load what was written.

    Raises:
        BundleCorruptError: the files in ``root`` are not the ones that the description names.
    """
    text = json.dumps(description.model_dump(mode="json"), indent=2, ensure_ascii=False)
    # A service may be reading the folder whose figures are being added.
    write_text(root / MANIFEST_NAME, text + "\n")
    return load(root)
