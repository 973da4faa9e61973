"""Whether a service's answer to known cells is right: ``check_answer.py ANSWER.json CELL...``, used by ``check.sh``.

The class must be the one in ``tests/data/cells/labels.csv``; the flag must be ``false``, since none of the cells is
hairy, or ``null`` if the bundle that answered cannot tell. Only the standard library.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def served_bundle(model: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the shipped bundle that gave an answer."""
    for path in ROOT.glob("models/*/*/bundle.json"):
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if model["sha256"] in {file["sha256"] for file in manifest["files"]}:
            return manifest
    sys.exit(f"no bundle in models/ has the file {model['sha256']} that answered")


def main(answer_file: str, *cells: str) -> None:
    """Exit with what is wrong, or say what was right."""
    answer = json.loads(Path(answer_file).read_text(encoding="utf-8"))
    with (ROOT / "tests/data/cells/labels.csv").open(encoding="utf-8", newline="") as stream:
        labels = {row["file"]: row["label"] for row in csv.DictReader(stream)}
    flag = None if served_bundle(answer["model"])["policy"]["hairy_threshold"] is None else False
    expected = [(labels[cell], flag) for cell in cells]
    found = [
        (result.get("class_name", result.get("error")), result.get("hairy_cell", {}).get("flag", "none"))
        for result in answer["results"]
    ]
    if found != expected:
        sys.exit(f"the service answered {found}, expected {expected}")
    for cell, (label, flagged) in zip(cells, found, strict=True):
        print(f"{cell}: {label}, hairy flag {json.dumps(flagged)}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
