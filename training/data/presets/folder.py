"""A laboratory's own images in one folder a class, with or without a file that maps folders to classes.

Each folder directly below the root is a class; deeper folders belong to it. A folder is matched with the 20 classes by
name or id, whatever its capitals, spaces, hyphens and underscores. A mapping file overrides that: lines
``folder=label``; an empty label leaves the folder out. A line that begins with ``#`` is a comment. The source of the
images is the name of the root folder.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contract.classes import CELL_CLASSES
from training.data.manifest import suggestion
from training.data.presets.base import Preset, SourceError, files_below

NAME: Final = "folder"
LAYOUT: Final = "one folder a class, such as hairy-cell/ or 'Hairy cell'/"
LEFT_OUT: Final = ""
"""Class of a folder that a mapping leaves out."""


def preset(root: Path, mapping: Path | None = None) -> Preset:
    """The preset of one laboratory's folder.

    Raises SourceError: folders that match no class, images outside any class, or a mapping that cannot be used.
    """
    given = {} if mapping is None else read_mapping(mapping)
    holding = Counter(_class_folder(root, path) for path in files_below(root, f"expected {LAYOUT}").images)
    classes = {name: given.get(name, BY_FORM.get(_form(name))) for name in sorted(holding)}
    problems = [
        f"folder {name!r} ({holding[name]} images) is not a class; {suggestion(name.replace('_', ' '))}"
        if name
        else f"{holding[name]} images lie in {root} itself, outside any class folder"
        for name, label in classes.items()
        if label is None
    ]
    problems += [f"the mapping names folder {name!r}, which holds no image" for name in given if name not in holding]
    if problems:
        advice = "Rename the folders, or give a --mapping FILE of lines folder=class; nothing behind = leaves one out."
        raise SourceError(f"{root} is not {LAYOUT}", [*problems, advice])
    return Preset(
        name=root.resolve().name,
        layout=LAYOUT,
        labels={name: label for name, label in classes.items() if label},
        left_out={n: f"folder {n!r} is left out by the mapping" for n, label in classes.items() if label == LEFT_OUT},
        code_of=lambda path: _class_folder(root, path),
    )


def read_mapping(path: Path) -> Mapping[str, str]:
    """Folder names to class names; an empty class name leaves the folder out.

    Raises:
        SourceError: the file cannot be read, or lines of it; all of them are listed.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError("the mapping cannot be read as text in UTF-8", [f"{path}: {error}"]) from error
    mapping: dict[str, str] = {}
    problems = []
    for number, text in enumerate(lines, 1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        folder, separator, label = (part.strip() for part in text.partition("="))
        matched = BY_FORM.get(_form(label)) if label else LEFT_OUT
        if not folder or not separator:
            problems.append(f"line {number}: {text!r} is not folder=label")
        elif folder in mapping:
            problems.append(f"line {number}: folder {folder!r} is mapped twice")
        elif matched is None:
            problems.append(f"line {number}: {label!r} is not a class; {suggestion(label)}")
        else:
            mapping[folder] = matched
    if problems or not mapping:
        raise SourceError(f"{path} cannot be used as a mapping", problems or ["it is empty"])
    return mapping


def _class_folder(root: Path, path: Path) -> str:
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else ""


def _form(name: str) -> str:
    return re.sub(r"[\s_-]+", "-", name.strip().lower())


BY_FORM: Final[Mapping[str, str]] = {_form(form): cell.name for cell in CELL_CLASSES for form in (cell.name, cell.id)}
