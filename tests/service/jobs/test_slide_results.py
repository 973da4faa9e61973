"""Results of a slide as one JSON document: the largest is read, and what is meant to exhaust a reader is not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contract.classes import BY_ID
from service.slides import MOST_BYTES, MOST_RESULTS, ResultsError, read_slide

LONGEST = {
    "image_sha256": "0" * 64,
    "class_id": max(BY_ID, key=len),
    "hairy_cell": {"flag": False},
    "review": [],
}
CELL = b'{"class_id":"lymphocyte","hairy_cell":{"flag":false},"review":[%s]}'
HOSTILE = {
    "numbers": (b'{"results":[' + b"0," * 1_000_000 + b"0]}", "results: has 1000001 items"),
    "objects": (b'{"results":[' + b"{}," * 600_000 + b"{}]}", "results: has 600001 items"),
    "broken results": (b'{"results":[' + b"{}," * 90_000 + b"{}]}", "there may be more"),
    "reasons": (b'{"results":[' + CELL % (b"{}," * 900_000 + b"{}") + b"]}", "results.0.review"),
    "broken reasons": (b'{"results":[' + CELL % (b"0," * 900_000 + b"0") + b"]}", "results.0.review.0"),
    "parts": (b'{"results":[' + b"0," * 12_000_000 + b"0]}", "12000002 objects, lists and commas"),
    "unknown field": (b'{"x":[' + b"{}," * 5_000_000 + b"{}]}", "10000003 objects, lists and commas"),
    "depth": (b'{"results":' + b"[" * 1_000_000, "Invalid JSON"),
}
MEASURED = """
import os, resource, sys
from service.slides import ResultsError, read_slide
for path in sys.argv[1:]:
    if os.fork() == 0:
        document = open(path, "rb").read()
        before = resource.getrusage(resource.RUSAGE_SELF)
        try:
            read_slide(document)
        except ResultsError as error:
            after = resource.getrusage(resource.RUSAGE_SELF)
            spent = (after.ru_maxrss - before.ru_maxrss) // 1024, after.ru_utime - before.ru_utime
            print(*spent, ascii(str(error)), flush=True)
        os._exit(0)
    os.wait()
"""
"""A process for each document, begun with everything imported: the most memory that it took, processor time, error."""


def test_as_many_results_as_are_accepted_fit_into_a_document() -> None:
    document = json.dumps({"results": [LONGEST] * MOST_RESULTS}).encode()
    assert len(document) <= MOST_BYTES
    assert len(read_slide(document).results) == MOST_RESULTS


def test_saved_answers_with_probabilities_up_to_the_most_bytes_are_read() -> None:
    full: dict[str, Any] = {**LONGEST, "index": 0, "probabilities": dict.fromkeys(BY_ID, 0.001)}
    count = MOST_BYTES // (len(json.dumps(full)) + 2) - 1
    assert len(read_slide(json.dumps({"results": [full] * count})).results) == count


def test_one_result_more_than_accepted_is_refused() -> None:
    with pytest.raises(ResultsError, match=f"results: has {MOST_RESULTS + 1} items, expected at most {MOST_RESULTS}"):
        read_slide(json.dumps({"results": [{"error": 1}] * (MOST_RESULTS + 1)}))


def test_what_is_meant_to_exhaust_the_reader_takes_little_memory_and_time(tmp_path: Path) -> None:
    files = [tmp_path / name for name in HOSTILE]
    for file, (document, _) in zip(files, HOSTILE.values(), strict=True):
        assert len(document) <= MOST_BYTES
        file.write_bytes(document)
    measured = subprocess.run([sys.executable, "-c", MEASURED, *files], capture_output=True, text=True, check=True)
    for line, (name, (_, expected)) in zip(measured.stdout.splitlines(), HOSTILE.items(), strict=True):
        megabytes, seconds, message = line.split(maxsplit=2)
        assert expected in message
        assert len(message) < 2000
        assert int(megabytes) < 150, name
        assert float(seconds) < 1.5, name
