"""A laboratory's own images in one folder a class, with or without a file that maps folders to classes.

Each folder directly below the root is a class; deeper folders belong to it. A folder is matched with the 20 classes by
name or id, whatever its capitals, spaces, hyphens and underscores. A mapping file overrides that: CSV with the
columns ``folder`` and ``label``, or lines ``folder=label``; an empty label leaves the folder out. A line that begins
with ``#`` is a comment. The source of the images is the name of the root folder.
"""

import csv
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from contract.classes import CELL_CLASSES
from training.data.manifest import suggestion
from training.data.presets.base import Preset, SourceError

NAME: Final = "folder"
COLUMNS: Final = ("folder", "label")
LAYOUT: Final = "one folder a class, such as hairy-cell/ or 'Hairy cell'/"
SCALE: Final = "unknown: the analyser's is about 10 pixels per micrometre, and nothing is resampled"


def preset(root: Path, mapping: Path | None = None) -> Preset:
    """The preset of one laboratory's folder.

    Raises:
        SourceError: folders that match no class, images outside any class, or a mapping that cannot be used; each
            with everything that is wrong.
    """
    given = {} if mapping is None else read_mapping(mapping)
    found = Preset(
        name=root.resolve().name,
        title=f"own images in {root.resolve().name}",
        licence="unknown",
        citation="",
        layout=LAYOUT,
        labels={},
        scale=SCALE,
    )
    holding = Counter(_class_folder(root, path) for path in found.files(root))
    labels: dict[str, str] = {}
    left_out: dict[str, str] = {}
    problems = []
    for name, count in sorted(holding.items()):
        label = given.get(name, BY_FORM.get(_form(name)))
        if not name:
            problems.append(f"{count} images lie in {root} itself, outside any class folder")
        elif label is None:
            problems.append(f"folder {name!r} ({count} images) is not a class; {suggestion(name.replace('_', ' '))}")
        elif label:
            labels[name] = label
        else:
            left_out[name] = f"folder {name!r} is left out by the mapping"
    problems += [f"the mapping names folder {name!r}, which holds no image" for name in given if name not in holding]
    if problems:
        advice = "Rename the folders, or give a --mapping FILE of lines folder=class; nothing behind = leaves one out."
        raise SourceError(_all(f"{root} is not {LAYOUT}", problems) + "\n" + advice)
    return replace(found, labels=labels, left_out=left_out, code_of=lambda path: _class_folder(root, path))


def read_mapping(path: Path) -> Mapping[str, str]:
    """Folder names to class names; an empty class name leaves the folder out.

    Raises:
        SourceError: the file cannot be read, or lines of it; all of them are listed.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the mapping cannot be read as text in UTF-8: {path}: {error}") from error
    numbered = [(number, text) for number, text in enumerate(lines, 1) if text.strip() and text.lstrip()[0] != "#"]
    as_csv = bool(numbered) and next(csv.reader([numbered[0][1]]))[:2] == list(COLUMNS)
    mapping: dict[str, str] = {}
    problems = []
    for number, text in numbered[1:] if as_csv else numbered:
        fields = next(csv.reader([text])) if as_csv else text.split("=", maxsplit=1)
        folder, label = (fields[0].strip(), fields[1].strip()) if len(fields) == 2 else ("", "")
        matched = BY_FORM.get(_form(label)) if label else ""
        if not folder:
            problems.append(f"line {number}: {text!r} is not {'folder,label' if as_csv else 'folder=label'}")
        elif folder in mapping:
            problems.append(f"line {number}: folder {folder!r} is mapped twice")
        elif matched is None:
            problems.append(f"line {number}: {label!r} is not a class; {suggestion(label)}")
        else:
            mapping[folder] = matched
    if problems or not numbered:
        raise SourceError(_all(f"{path} cannot be used as a mapping", problems or ["it is empty"]))
    return mapping


def _class_folder(root: Path, path: Path) -> str:
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else ""


def _form(name: str) -> str:
    return re.sub(r"[\s_-]+", "-", name.strip().lower())


BY_FORM: Final[Mapping[str, str]] = {_form(form): cell.name for cell in CELL_CLASSES for form in (cell.name, cell.id)}


def _all(what: str, problems: list[str]) -> str:
    return f"{what}:\n" + "\n".join(f"  - {problem}" for problem in problems)
