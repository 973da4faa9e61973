"""Multipart forms (RFC 7578) whose bytes are all there: the common way of writing them at once, every other way by
python-multipart.

Images of patients are never written to disk, as they would be by Starlette's own form parser.
"""

import re
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import ServiceError

FIELD: Final = "file"
HINT: Final = "for example: curl -F file=@cell.jpg URL/classify"

_COMMON_HEAD: Final = re.compile(
    rb"(?i:content-disposition): form-data; name=\"?file\"?; filename=\"[^\"\\\r\n]*\"\r\n"
    rb"(?:(?i:content-type): [A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+\r\n)?"
    rb"(?:(?i:content-length): [0-9]+\r\n)?"
    rb"\r\n"
)
"""As curl, browsers, httpx, requests, aiohttp, fetch and .NET write the head of a file's part."""


class UploadError(ServiceError):
    """A form cannot be used as a whole."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        super().__init__(message)


def files_of(body: bytes, boundary: bytes, max_files: int) -> list[bytes]:
    """The files of a form in its order; at least one, at most ``max_files``.

    Raises:
        UploadError: 400 for a form that is broken, empty or has something else than files, 413 for too many.
    """
    return _common(body, boundary, max_files) or _any(body, boundary, max_files)


def _common(body: bytes, boundary: bytes, max_files: int) -> list[bytes] | None:
    """The files, if each part is written in the common way and nothing is wrong; ``None`` otherwise."""
    first, separator = b"--" + boundary, b"\r\n--" + boundary
    if not boundary or not body.startswith(first):
        return None
    files: list[bytes] = []
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
        files.append(body[begin:end])
        place = end + skip
    return files if body[place:] in (b"--", b"--\r\n") else None


def _any(body: bytes, boundary: bytes, max_files: int) -> list[bytes]:
    form = _Form(boundary, max_files)
    form.read(body)
    return form.files


class _Form:
    """Collects the files of a form."""

    def __init__(self, boundary: bytes, max_files: int) -> None:
        if not boundary:
            raise _broken("Content-Type has no boundary")
        self._max_files = max_files
        self._files: list[bytearray] = []
        self._header = [bytearray(), bytearray()]
        self._disposition = b""
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_to_name,
                    "on_header_value": self._add_to_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._open_file,
                    "on_part_data": self._add_to_file,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _broken(str(error)) from error

    def read(self, body: bytes) -> None:
        try:
            self._parser.write(body)
        except FormParserError as error:
            raise _broken(str(error)) from error
        if not self._ended:
            raise _broken("it ends before its last boundary")
        if not self._files:
            raise UploadError(400, "no_image", f"The form has no file; send each image in a field '{FIELD}', {HINT}")

    @property
    def files(self) -> list[bytes]:
        return [bytes(file) for file in self._files]

    def _begin_part(self) -> None:
        self._disposition = b""

    def _add_to_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = [bytearray(), bytearray()]

    def _open_file(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if field != FIELD:
            raise UploadError(
                400, "unknown_field", f"The form has a field {field[:50]!r}, expected only '{FIELD}', {HINT}"
            )
        # RFC 7578 forbids filename* and the parser drops it, but older clients send it for names that are not ASCII.
        if b"filename" not in options and b"filename*=" not in self._disposition.lower():
            raise UploadError(400, "not_a_file", f"The field '{FIELD}' is text, expected a file (note the @), {HINT}")
        if len(self._files) == self._max_files:
            raise UploadError(
                413,
                "too_many_files",
                f"The form has more than {self._max_files} files (HAL_MAX_FILES); send them in several requests.",
            )
        self._files.append(bytearray())

    def _add_to_file(self, data: bytes, start: int, end: int) -> None:
        self._files[-1] += memoryview(data)[start:end]

    def _end(self) -> None:
        self._ended = True


def _broken(reason: str) -> UploadError:
    return UploadError(400, "broken_form", f"The multipart form cannot be read: {reason[:200]}; {HINT}")
