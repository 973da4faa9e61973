"""Multipart forms (RFC 7578) whose bytes are all there: the common way of writing them at once, every other way by
python-multipart.

Images of patients are never written to disk, as they would be by Starlette's own form parser.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import RequestError

FIELD: Final = "file"
REFERENCE: Final = "client_ref"
LONGEST_REFERENCE: Final = 256
"""Characters; file systems allow no more in a name."""
HINT: Final = "for example: curl -F file=@cell.jpg URL/classify"

_COMMON_HEAD: Final = re.compile(
    rb"(?i:content-disposition): form-data; "
    rb"name=(?:\"?file\"?; filename=\"([^\"\\\r\n]*)\"|\"?client_ref\"?)\r\n"
    rb"(?:(?i:content-type): [A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+\r\n)?"
    rb"(?:(?i:content-length): [0-9]+\r\n)?"
    rb"\r\n"
)
"""As curl, browsers, httpx, requests, aiohttp, fetch and .NET write the head of a part; group 1 is a file's name."""
_EXTENDED_NAME: Final = re.compile(rb"(?i:filename\*)=\"?(?i:(?:utf-8)?)'[^']*'([^\";\s]*)|(?i:filename\*)=")
"""RFC 7578 forbids it and the parser drops it, but urllib3 1 and others write names so that are not ASCII."""


class Uploaded(NamedTuple):
    """An encoded image, and what the client calls it."""

    data: bytes
    client_ref: str | None = None


def files_of(body: bytes, boundary: bytes, max_files: int) -> list[Uploaded]:
    """The files of a form in its order; at least one, at most ``max_files``.

    Each is called what its field ``client_ref`` says, the first field for the first file, or else by its file name.

    Raises:
        RequestError: 400 for a form that is broken, empty or has other fields, 413 for too many files.
    """
    files, names, references = _common(body, boundary, max_files) or _any(body, boundary, max_files)
    if references and len(references) != len(files):
        raise RequestError(
            400,
            "references_do_not_fit",
            f"The form has {len(references)} fields '{REFERENCE}' for {len(files)} files; send one for each or none.",
        )
    return [*map(Uploaded, files, map(reference_of, references or names))]


def reference_of(given: bytes | str) -> str | None:
    """What a client calls an image, ``None`` if it is empty."""
    reference = given if isinstance(given, str) else given.decode("utf-8", "replace")
    if len(reference) > LONGEST_REFERENCE:
        raise RequestError(
            400,
            "reference_too_long",
            f"A '{REFERENCE}' or file name has {len(reference)} characters, expected at most {LONGEST_REFERENCE}.",
        )
    return reference or None


_Parts = tuple[list[bytes], list[bytes], list[bytes]]
"""The files, their names, and the fields ``client_ref``."""


def _common(body: bytes, boundary: bytes, max_files: int) -> _Parts | None:
    """The parts, if each is written in the common way and nothing is wrong; ``None`` otherwise."""
    first, separator = b"--" + boundary, b"\r\n--" + boundary
    if not boundary or not body.startswith(first):
        return None
    files: list[bytes] = []
    names: list[bytes] = []
    references: list[bytes] = []
    place, skip = len(first), len(separator)
    while body.startswith(b"\r\n", place):
        head = _COMMON_HEAD.match(body, place + 2)
        if head is None or len(files) == max_files:
            return None
        begin = head.end()
        # A file may be empty, and then its head's last line break is not the separator's.
        end = body.find(separator, begin)
        if end < 0:
            return None
        if (name := head[1]) is None:
            references.append(body[begin:end])
        else:
            files.append(body[begin:end])
            names.append(name)
        place = end + skip
    return (files, names, references) if files and body[place:] in (b"--", b"--\r\n") else None


def _any(body: bytes, boundary: bytes, max_files: int) -> _Parts:
    if not boundary:
        raise _broken("Content-Type has no boundary")
    form = _Form(max_files)
    try:
        MultipartParser(
            boundary,
            {
                "on_part_begin": form.begin_part,
                "on_header_field": form.add_to_name,
                "on_header_value": form.add_to_value,
                "on_header_end": form.end_header,
                "on_headers_finished": form.open_part,
                "on_part_data": form.add_to_part,
                "on_end": form.end,
            },
        ).write(body)
    except FormParserError as error:
        raise _broken(str(error)) from error
    if not form.ended:
        raise _broken("it ends before its last boundary")
    if not form.files:
        raise RequestError(400, "no_image", f"The form has no file; send each image in a field '{FIELD}', {HINT}")
    return [*map(bytes, form.files)], form.names, [*map(bytes, form.references)]


class _Form:
    """Collects the parts of a form as python-multipart finds them."""

    def __init__(self, max_files: int) -> None:
        self._max_files = max_files
        self.files: list[bytearray] = []
        self.names: list[bytes] = []
        self.references: list[bytearray] = []
        self.ended = False
        self._part = bytearray()
        self._header = (bytearray(), bytearray())
        self._disposition = b""

    def begin_part(self) -> None:
        self._disposition = b""

    def add_to_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def open_part(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode("utf-8", "replace")
        self._part = bytearray()
        if field == REFERENCE and len(self.references) < self._max_files:
            self.references.append(self._part)
            return
        if field != FIELD:
            raise RequestError(
                400,
                "unknown_field",
                f"The form has a field {field[:50]!r}, expected '{FIELD}' or '{REFERENCE}', {HINT}",
            )
        extended = _EXTENDED_NAME.search(self._disposition)
        if b"filename" not in options and extended is None:
            raise RequestError(400, "not_a_file", f"The field '{FIELD}' is text, expected a file (note the @), {HINT}")
        if len(self.files) == self._max_files:
            raise RequestError(
                413,
                "too_many_files",
                f"The form has more than {self._max_files} files (HAL_MAX_FILES); send them in several requests.",
            )
        self.files.append(self._part)
        self.names.append(options.get(b"filename") or unquote_to_bytes((extended and extended[1]) or b""))

    def add_to_part(self, data: bytes, start: int, end: int) -> None:
        self._part += memoryview(data)[start:end]

    def end(self) -> None:
        self.ended = True


def _broken(reason: str) -> RequestError:
    return RequestError(400, "broken_form", f"The multipart form cannot be read: {reason[:200]}; {HINT}")
