"""ZIP archives of images, unpacked in memory within the limits of any other body."""

import contextlib
import io
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import Final

from service.errors import RequestError
from service.http.forms import Uploaded, reference_of

_ENTRY: Final = b"PK\x01\x02"
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UTF8: Final = 1 << 11
_LITTER: Final = frozenset({"thumbs.db", "desktop.ini"})
"""What Windows adds to folders, in lower case."""


def unzip(archive: bytes, max_files: int, max_bytes: int) -> list[Uploaded]:
    """The files of an archive in its order, each called by its name; at least one. Folders, hidden files and what macOS
    and Windows add are passed over.

    Raises:
        RequestError: 400 for an archive that is broken, encrypted, packed in an unusual way or empty, 413 for too many
            files or unpacked bytes.
    """
    # Counted first: zipfile makes an object for every entry. Folders and what macOS adds to a file are entries too.
    if archive.count(_ENTRY) > 3 * max_files:
        raise _too_large("too_many_files", f"more than {3 * max_files} entries", f"{max_files} files (HAL_MAX_FILES)")
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            names = {entry: _name(entry) for entry in opened.infolist()}
            files = [entry for entry, name in names.items() if not _is_passed_over(name)]
            if len(files) > max_files:
                raise _too_large("too_many_files", f"{len(files)} files", f"{max_files} (HAL_MAX_FILES)")
            if (size := sum(entry.file_size for entry in files)) > max_bytes:
                most = f"{max_bytes} (HAL_MAX_UPLOAD_BYTES)"
                raise _too_large("request_too_large", f"{size} bytes when unpacked", most)
            if unusual := next((entry for entry in files if entry.compress_type not in _METHODS), None):
                raise _broken(f"{unusual.filename[:100]!r} is neither stored nor deflated")
            images = [Uploaded(opened.read(entry), reference_of(names[entry])) for entry in files]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _broken(str(error)) from error
    if not images:
        raise RequestError(400, "no_image", "The ZIP archive has no file; put images into it.")
    return images


def _name(entry: zipfile.ZipInfo) -> str:
    """Its path with ``/``: Windows' packers may write ``\\``, and macOS's writes UTF-8 without saying so."""
    name = entry.filename
    if not entry.flag_bits & _UTF8:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/")


def _is_passed_over(name: str) -> bool:
    last = PurePosixPath(name).name
    return name.endswith("/") or name.startswith("__MACOSX/") or last.startswith(".") or last.lower() in _LITTER


def _too_large(code: str, found: str, most: str) -> RequestError:
    return RequestError(413, code, f"The ZIP archive has {found}, at most {most} are accepted; send several archives.")


def _broken(reason: str) -> RequestError:
    return RequestError(400, "broken_zip", f"The ZIP archive cannot be read: {reason[:200]}; make it anew.")
