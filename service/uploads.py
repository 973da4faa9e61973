"""The body of a request, read under limits: one raw image, or a form with one or many files."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.settings import Settings

IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/bmp", "image/tiff")
FIELD: Final = "file"
_HINT: Final = "for example: curl -F file=@cell.jpg URL/classify"


class UploadError(Exception):
    """A request's body cannot be used as a whole."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        super().__init__(message)


async def read_images(request: Request, settings: Settings) -> list[bytes]:
    """The encoded images of a request, in its order; at least one.

    Raises:
        UploadError: 400 for a broken form, 408 for a body that does not arrive, 413 for too much, 415 for a type that
            is not accepted.
        ClientDisconnect: the client went away.
    """
    content_type, parameters = parse_options_header(request.headers.get("content-type"))
    media_type = content_type.decode("latin-1").lower()
    if media_type not in ("multipart/form-data", *IMAGE_TYPES):
        raise UploadError(
            415,
            "unsupported_media_type",
            f"Content-Type is {media_type[:100] or 'missing'!r}, expected multipart/form-data or one of "
            f"{', '.join(IMAGE_TYPES)}; {_HINT}",
        )
    chunks = _limited(request, settings.max_upload_bytes)
    try:
        async with asyncio.timeout(settings.upload_timeout_s):
            if media_type in IMAGE_TYPES:
                return [b"".join([chunk async for chunk in chunks])]
            return await _Form(parameters.get(b"boundary", b""), settings.max_files).read(chunks)
    except TimeoutError:
        raise UploadError(
            408,
            "upload_timeout",
            f"The request body did not arrive within {settings.upload_timeout_s:g} s (HAL_UPLOAD_TIMEOUT_S); send "
            "fewer images in a request.",
        ) from None


async def _limited(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    declared = request.headers.get("content-length", "0")
    if int(declared) > max_bytes:
        raise _too_large(f"{declared} bytes", max_bytes)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise _too_large("more", max_bytes)
        yield chunk


def _too_large(found: str, max_bytes: int) -> UploadError:
    return UploadError(
        413,
        "request_too_large",
        f"The request body has {found}, at most {max_bytes} bytes are accepted (HAL_MAX_UPLOAD_BYTES); send the images "
        "in several requests.",
    )


class _Form:
    """Collects the files of a multipart form in memory: images of patients are never written to disk."""

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

    async def read(self, chunks: AsyncIterator[bytes]) -> list[bytes]:
        try:
            async for chunk in chunks:
                self._parser.write(chunk)
        except FormParserError as error:
            raise _broken(str(error)) from error
        if not self._ended:
            raise _broken("it ends before its last boundary")
        if not self._files:
            raise UploadError(400, "no_image", f"The form has no file; send each image in a field '{FIELD}', {_HINT}")
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
                400, "unknown_field", f"The form has a field {field[:50]!r}, expected only '{FIELD}', {_HINT}"
            )
        # RFC 7578 forbids filename* and the parser drops it, but older clients send it for names that are not ASCII.
        if b"filename" not in options and b"filename*=" not in self._disposition.lower():
            raise UploadError(400, "not_a_file", f"The field '{FIELD}' is text, expected a file (note the @), {_HINT}")
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
    return UploadError(400, "broken_form", f"The multipart form cannot be read: {reason[:200]}; {_HINT}")
