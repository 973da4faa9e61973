"""Results that somebody already has, as the cells of a slide: a saved answer, lines of results, or a CSV table."""

import codecs
import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, FailFast, Field, ValidationError, model_validator
from pydantic_core import from_json

from contract.classes import BY_ID
from contract.differential import SlideCell
from contract.parts import Probability, Sha256
from contract.slide import OtherBundleError
from service.errors import UserError

MOST_RESULTS: Final = 100_000
MOST_BYTES: Final = 256 * MOST_RESULTS
"""Of one JSON document: a result without its probabilities takes up to 200 bytes."""
_MOST_PARTS: Final = 20 * MOST_RESULTS
"""Objects, lists and commas of one JSON document, since an empty object takes 30 times the memory of its two bytes."""
_MOST_REASONS: Final = 32
_MOST_PROBLEMS: Final = 10
_Short = Annotated[str, Field(min_length=1, max_length=200)]


class ResultsError(UserError):
    """Results cannot be read; the message lists what was wrong where."""


class _Given(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=(), allow_inf_nan=False)


class GivenHairyCell(_Given):
    """The hairy-cell part of a result."""

    flag: bool | None


class GivenHairyRule(_Given):
    """The hairy-cell part of an answer; the threshold tells whether its flags were raised by the same rule."""

    threshold: Probability | None = None


class GivenNovelty(_Given):
    """Whether the image looked unlike those that the model learned from."""

    unfamiliar: bool


class GivenReview(_Given):
    """A reason for review; only that there is one counts."""

    code: str = ""


class GivenResult(_Given):
    """One entry of ``results`` of an answer to ``POST /classify``; what a summary does not need may be left out."""

    image_sha256: Sha256 | None = None
    class_id: Annotated[str | None, Field(examples=["lymphocyte"])] = None
    hairy_cell: GivenHairyCell | None = None
    novelty: GivenNovelty | None = None
    review: Annotated[tuple[GivenReview, ...], FailFast(), Field(max_length=_MOST_REASONS)] = ()
    error: Any = Field(default=None, description="Present: the image was refused and is counted as such.")

    @model_validator(mode="after")
    def _classified_or_refused(self) -> Self:
        if self.error is not None:
            return self
        if self.class_id is None or self.hairy_cell is None:
            raise ValueError("has neither an error nor both class_id and hairy_cell")
        if self.class_id not in BY_ID:
            raise ValueError(f"class_id {self.class_id[:60]!r} is none of {', '.join(BY_ID)}")
        return self


class GivenModel(_Given):
    """The ``model`` of an answer: results of another model cannot be judged by this one's evidence."""

    sha256: str
    decision_policy: str | None = None


class GivenReport(_Given):
    """What a report says beside its figures; it is written into FHIR, and kept nowhere.

    Attributes:
        signed_by, signed_at: who has reviewed the cells and when, which makes the report ``final``.
        subject, specimen, based_on, performer: references, as the record system writes them.
        note: for the report's conclusion.
    """

    signed_by: _Short | None = None
    signed_at: AwareDatetime | None = None
    subject: _Short | None = None
    specimen: _Short | None = None
    based_on: _Short | None = None
    performer: _Short | None = None
    note: Annotated[str, Field(min_length=1, max_length=2000)] | None = None


class GivenSlide(_Given):
    """The results of one slide, in the form of an answer to ``POST /classify``; several answers' results in one list.

    ``model`` may be left out, but then only the threshold of the flags tells whether this bundle made them.
    """

    model: GivenModel | None = None
    hairy_cell: GivenHairyRule | None = None
    report: GivenReport | None = None
    results: Annotated[tuple[GivenResult, ...], Field(max_length=MOST_RESULTS, json_schema_extra={"minItems": 1})]

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        # As min_length, it would also be reported where there are results and none of them is valid.
        if not self.results:
            raise ValueError("results is empty, expected at least 1 item")
        return self

    @property
    def refused(self) -> int:
        """How many images were not classified."""
        return sum(result.error is not None for result in self.results)

    def cells(self, threshold: float | None) -> list[SlideCell]:
        """The classified images; OtherBundleError if they say that they were flagged at another threshold."""
        given = None if self.hairy_cell is None else self.hairy_cell.threshold
        if given is not None and (threshold is None or abs(given - threshold) > 1e-9):
            raise OtherBundleError(
                f"results were flagged at the threshold {given:g}, this bundle's is "
                f"{'not set' if threshold is None else f'{threshold:g}'}; classify the images again with one bundle"
            )
        cells = []
        for result in self.results:
            if result.class_id is None or result.hairy_cell is None or result.error is not None:
                continue
            unfamiliar = None if result.novelty is None else result.novelty.unfamiliar
            doubtful = bool(result.review)
            cells.append(
                SlideCell(BY_ID[result.class_id], result.hairy_cell.flag, doubtful, result.image_sha256, unfamiliar)
            )
        return cells


def read_slide(document: str | bytes) -> GivenSlide:
    """Results from one JSON document in the form of an answer; ResultsError lists the first ten breaches of it."""
    text = document.encode(errors="surrogatepass") if isinstance(document, str) else document
    text = text.removeprefix(codecs.BOM_UTF8)  # RFC 8259, 8.1: as some programs write it.
    parts = sum(text.count(sign) for sign in b"{[,")
    if parts > _MOST_PARTS:
        raise ResultsError(
            f"the document: has {parts} objects, lists and commas, expected at most {_MOST_PARTS}; send at most "
            f"{MOST_RESULTS} results and leave the probabilities out"
        )
    try:
        given = from_json(text)
    except ValueError as error:
        raise ResultsError(f"the document: Invalid JSON: {error}") from error
    return _slide(given)


def _slide(given: Any) -> GivenSlide:
    if isinstance(given, dict) and isinstance(given.get("results"), list):
        given = {**given, "results": _results(given["results"])}
    try:
        return GivenSlide.model_validate(given)
    except ValidationError as error:
        raise ResultsError("; ".join(_breaches(error)[:_MOST_PROBLEMS])) from error


def _results(given: list[Any]) -> list[GivenResult]:
    """Each on its own: other threads run in between, and what follows the tenth breach is not looked at."""
    if len(given) > MOST_RESULTS:
        raise ResultsError(f"results: has {len(given)} items, expected at most {MOST_RESULTS}")
    results: list[GivenResult] = []
    breaches: list[str] = []
    for place, item in enumerate(given):
        try:
            results.append(GivenResult.model_validate(item))
        except ValidationError as error:
            breaches += _breaches(error, "results", place)
            if len(breaches) >= _MOST_PROBLEMS:
                breaches[_MOST_PROBLEMS:] = ["there may be more after these"]
                break
    if breaches:
        raise ResultsError("; ".join(breaches))
    return results


def read_files(paths: Sequence[Path]) -> GivenSlide:
    """The results in files, together one slide.

    A file is a saved answer (``.json``), one result or answer a line (``.jsonl``), or a table (``.csv``) with the
    columns ``class_id`` and, if there are any, ``image_sha256``, ``hairy_flag``, ``hairy_threshold``,
    ``unfamiliar``, ``review``, ``error`` or ``error_code``, ``model_sha256`` and ``model_decision_policy``: what
    ``hal classify`` and the page write.

    Raises:
        ResultsError: a file is missing, of another form, or of another model than the first.
    """
    results: list[Any] = []
    models: dict[str, Any] = {}
    thresholds: set[str] = set()
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8-sig", errors="replace")
        except OSError as error:
            raise ResultsError(f"{path}: cannot be read: {error.strerror}") from error
        for number, document in _documents(path, text):
            answer = isinstance(document, dict) and "results" in document
            given = document["results"] if answer else [document]
            if not isinstance(given, list) or not isinstance(document, dict):
                raise ResultsError(f"{path}, line {number}: neither a result nor an answer of HAL")
            results += given
            if isinstance(model := document.get("model"), dict):
                models[str(model.get("sha256"))] = model
            rule = document.get("hairy_cell") if answer else {"threshold": document.get("hairy_threshold")}
            if isinstance(rule, dict) and rule.get("threshold") is not None:
                thresholds.add(str(rule["threshold"]))
    if len(thresholds) > 1:
        raise ResultsError(f"the results were flagged at the thresholds {', '.join(sorted(thresholds))}, expected one")
    if len(models) > 1:
        raise ResultsError(f"the results come from {len(models)} models ({', '.join(models)}), expected one")
    model = next(iter(models.values()), None)
    try:
        return _slide({"model": model, "hairy_cell": {"threshold": next(iter(thresholds), None)}, "results": results})
    except ResultsError as error:
        raise ResultsError(f"{', '.join(map(str, paths))}: {error}") from error


def _documents(path: Path, text: str) -> Iterable[tuple[int, Any]]:
    if path.suffix.lower() == ".csv":
        rows = csv.DictReader(io.StringIO(text, newline=""))
        if "class_id" not in (rows.fieldnames or ()):
            raise ResultsError(f"{path}: no column class_id, only {', '.join(rows.fieldnames or ()) or 'none'}")
        for number, row in enumerate(rows, 2):
            yield number, _from_row(path, number, row)
        return
    try:
        yield 1, json.loads(text)
        return
    except ValueError as error:
        if path.suffix.lower() == ".json":
            raise ResultsError(f"{path}: not JSON: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise ResultsError(
                    f"{path}, line {number}: not JSON: {error}; expected .csv or .jsonl of 'hal classify --out', an "
                    "export of the page, or a saved answer"
                ) from error


def _from_row(path: Path, number: int, row: dict[str, str]) -> dict[str, Any]:
    flags = {"true": True, "1": True, "false": False, "0": False, "": None, "null": None, "none": None}
    given = {name: (row.get(name) or "").strip().lower() for name in ("hairy_flag", "unfamiliar")}
    for name, value in given.items():
        if value not in flags:
            raise ResultsError(f"{path}, line {number}: {name} is {value[:40]!r}, expected true, false or nothing")
    unfamiliar = flags[given["unfamiliar"]]
    model = {"sha256": row.get("model_sha256"), "decision_policy": row.get("model_decision_policy") or None}
    return {
        "model": model if row.get("model_sha256") else None,
        "image_sha256": row.get("image_sha256") or None,
        "class_id": row.get("class_id") or None,
        "hairy_cell": {"flag": flags[given["hairy_flag"]]},
        "hairy_threshold": row.get("hairy_threshold") or None,
        "novelty": None if unfamiliar is None else {"unfamiliar": unfamiliar},
        "review": [{"code": row["review"]}] if row.get("review") else [],
        "error": row.get("error") or row.get("error_code") or None,
    }


def _breaches(error: ValidationError, *place: str | int) -> list[str]:
    return [
        f"{'.'.join(map(str, (*place, *detail['loc']))) or 'the document'}: "
        f"{detail['msg'].removeprefix('Value error, ')}"
        for detail in error.errors(include_url=False)
    ]
