"""``hal data download``: a public record of Zenodo, whole or not at all, however often the connection breaks.

A file is written as ``NAME.part`` and gets its name when its size and MD5 are those of the record. What was cut goes on
where it ended. ZIP files are unpacked beside it, each into a folder of its name.
"""

import hashlib
import os
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final

import httpx
from pydantic import BaseModel, Field, ValidationError
from rich.console import Console
from rich.filesize import decimal

from contract.files import write_text
from training.errors import TrainingError
from training.progress import track

RECORDS: Final = MappingProxyType({"mll23": 14277609})
"""Data sets by the name of their preset."""
PART: Final = ".part"
ATTEMPTS: Final = 6
"""In a row that bring no byte, before it is given up."""
PAUSE_S = 1.0
"""Before the second attempt; doubled before each further one."""
LONGEST_PAUSE_S: Final = 60.0
_MB: Final = 1e6
_TIMEOUT: Final = httpx.Timeout(60.0, connect=15.0)
_TEMPORARY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")


class DownloadError(TrainingError):
    """The record, or one of its files, cannot be had."""


class Links(BaseModel):
    """Where a file is."""

    url: str = Field(alias="self")


class RemoteFile(BaseModel):
    """A file of a record; ``checksum`` is ``md5:`` and 32 hex digits."""

    key: str = Field(pattern=r"^[^/\\\x00]*[^/\\\x00.][^/\\\x00]*$")
    size: int = Field(ge=0)
    checksum: str = Field(pattern=r"^md5:[0-9a-f]{32}$")
    links: Links

    @property
    def md5(self) -> str:
        """In hex."""
        return self.checksum.removeprefix("md5:")


class Licence(BaseModel):
    """As an identifier, such as ``cc-by-4.0``."""

    id: str


class Metadata(BaseModel):
    """What the record says of itself."""

    title: str = ""
    license: Licence | None = None


class ZenodoRecord(BaseModel):
    """The answer to ``GET /api/records/NUMBER``, as far as it is needed."""

    id: int
    metadata: Metadata = Metadata()
    files: tuple[RemoteFile, ...] = ()


def download(
    name: str,
    out: Path,
    *,
    only: Sequence[str] = (),
    unpack: bool = True,
    just_list: bool = False,
    zenodo: str = "https://zenodo.org",
) -> None:
    """Bring a record's files into a folder; what is there and right already is left alone.

    Args:
        name: a data set of :data:`RECORDS`, or ``zenodo:NUMBER``, or the number.
        only: patterns of file names, such as ``hairy_cell*``; empty for all.
        just_list: show the files and stop.
        zenodo: where Zenodo's REST API is.

    Raises:
        DownloadError: there is no such record, no room for it, or its files do not come or are not what it says.
    """
    number = record_number(name)
    with _client() as http:
        answer = _asked(http, f"{zenodo.rstrip('/')}/api/records/{number}")
        record = _understood(answer, number)
        chosen = [file for file in record.files if not only or any(fnmatch(file.key, each) for each in only)]
        _tell(record, chosen)
        if not chosen:
            raise DownloadError(
                f"record {number} has no public file"
                + (f" that matches {', '.join(only)}; it has {', '.join(f.key for f in record.files)}" if only else "")
            )
        if just_list:
            return
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / f"zenodo-{record.id}.json", answer.text)
        missing = [file for file in chosen if not _there(out / file.key, file)]
        _require_room(out, sum(file.size - _size(_part(out, file)) for file in missing), "the download")
        for file in missing:
            _fetch(http, file, out)
    if unpack:
        for archive in (out / file.key for file in chosen if file.key.lower().endswith(".zip")):
            _unpack(archive)
    _say(f"{len(chosen)} files in {out}")


def record_number(name: str) -> int:
    """The number of a record by what a user calls it. Raises DownloadError: it is neither known nor a number."""
    if name in RECORDS:
        return RECORDS[name]
    if (found := re.fullmatch(r"(?:zenodo:|10\.5281/zenodo\.)?(\d{1,12})", name)) is None:
        raise DownloadError(
            f"{name!r} is no record; expected {', '.join(RECORDS)}, zenodo:NUMBER or the number, as in the address of "
            "its page on Zenodo"
        )
    return int(found[1])


@contextmanager
def _client() -> Iterator[httpx.Client]:
    try:
        http = httpx.Client(timeout=_TIMEOUT, follow_redirects=True, headers={"Accept-Encoding": "identity"})
    except (httpx.InvalidURL, ValueError, ImportError, OSError) as error:
        raise DownloadError(f"no connection can be set up: {error}{_environment()}") from error
    try:
        with http:
            yield http
    except (httpx.HTTPError, httpx.InvalidURL, OverflowError, ExceptionGroup) as error:  # the last two: proxies' ports
        raise DownloadError(
            f"the connection failed: {_named(error)}{_environment()}; run the same command again, what has come is kept"
        ) from error


def _environment() -> str:
    """The names of variables that direct connections, where they are set; values may hold passwords."""
    found = [each for name in _PROXIES for each in dict.fromkeys((name, name.upper())) if os.environ.get(each)]
    return f" (look at {', '.join(found)})" if found else ""


def _asked(http: httpx.Client, url: str) -> httpx.Response:
    """The answer to a GET that says yes; failures and temporary refusals are tried again."""
    for attempt in range(ATTEMPTS - 1):
        try:
            answer = http.get(url)
        except httpx.UnsupportedProtocol:
            raise
        except httpx.TransportError:
            _wait(attempt)
            continue
        if answer.status_code not in _TEMPORARY:
            break
        _wait(attempt, answer)
    else:
        answer = http.get(url)
    _require_success(answer, url)
    return answer


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _wait(attempt: int, answer: httpx.Response | None = None) -> None:
    """Before another attempt: as long as the server asks for, or twice as long as before."""
    asked = "" if answer is None else answer.headers.get("Retry-After", "")
    seconds = float(asked) if asked.isdigit() else PAUSE_S * 2**attempt
    time.sleep(min(seconds, LONGEST_PAUSE_S))


def _require_success(answer: httpx.Response, url: str) -> None:
    if answer.is_success:
        return
    said = f"GET {url} was answered {answer.status_code} {answer.reason_phrase}"
    if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        raise DownloadError(f"{said}: there is no such public record or file; compare the number with Zenodo's page")
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise DownloadError(f"{said}: it is restricted; ask its authors, download by a browser, and give the folder on")
    raise DownloadError(f"{said}{_environment()}; run the same command again later, what has come is kept")


def _understood(answer: httpx.Response, number: int) -> ZenodoRecord:
    try:
        return ZenodoRecord.model_validate_json(answer.content)
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'all of it'}: {e['msg']}" for e in error.errors()[:5])
        raise DownloadError(f"the answer for record {number} is not Zenodo's ({fields}){_environment()}") from error


def _tell(record: ZenodoRecord, chosen: Sequence[RemoteFile]) -> None:
    licence = "no licence stated" if record.metadata.license is None else record.metadata.license.id
    _say(f"record {record.id}: {record.metadata.title} ({licence}; read its terms)")
    for file in chosen:
        _say(f"  {decimal(file.size):>10}  {file.key}")
    _say(f"  {decimal(sum(file.size for file in chosen)):>10}  together")


def _require_room(folder: Path, needed: int, what: str) -> None:
    if needed > (free := shutil.disk_usage(folder).free):
        raise DownloadError(
            f"{folder} has room for {decimal(free)}, {what} needs {decimal(needed)}; make room, or name a "
            "folder on another disk; what has come is kept"
        )


def _there(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size and _md5(path) == file.md5


def _part(out: Path, file: RemoteFile) -> Path:
    return out / (file.key + PART)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fetch(http: httpx.Client, file: RemoteFile, out: Path) -> None:
    """Bring one file; a wrong MD5 gets a second, whole download, since what was resumed may be of another time."""
    part = _part(out, file)
    for _ in range(2):
        _fill(http, file, part)
        found = _md5(part)
        if found == file.md5:
            part.replace(out / file.key)
            return
        part.unlink()
    raise DownloadError(
        f"{file.key} came with MD5 {found}, the record says {file.md5}, twice; it was deleted: a proxy may change it, "
        f"or the record is damaged{_environment()}"
    )


def _fill(http: httpx.Client, file: RemoteFile, part: Path) -> None:
    """Make ``part`` as long as the file is, from where it ends."""
    if _size(part) > file.size:
        part.unlink()
    part.touch()
    fruitless = 0
    with track(file.key, file.size / _MB, _size(part) / _MB, unit="MB") as advance:
        while (begin := _size(part)) < file.size:
            answer = None
            try:
                with http.stream("GET", file.links.url, headers={"Range": f"bytes={begin}-"}) as answer:
                    if answer.status_code not in _TEMPORARY:
                        _require_success(answer, file.links.url)
                        _write(answer, file, part, begin, advance)
                why = f"{answer.status_code} {answer.reason_phrase}"
            except httpx.UnsupportedProtocol:
                raise
            except httpx.TransportError as error:
                why = _named(error)
            if (now := _size(part)) >= file.size:
                break
            fruitless = 0 if now > begin else fruitless + 1
            if fruitless == ATTEMPTS:
                raise DownloadError(
                    f"{file.key} does not come any further than {decimal(now)} of {decimal(file.size)} ({why})"
                    f"{_environment()}; run the same command again later, it goes on from there"
                )
            _wait(fruitless, answer)


def _write(answer: httpx.Response, file: RemoteFile, part: Path, begin: int, advance: Callable[..., None]) -> None:
    """Append what comes; from the first byte where the server knows no ranges."""
    if answer.status_code == httpx.codes.PARTIAL_CONTENT:
        if not (given := answer.headers.get("Content-Range", "")).startswith(f"bytes {begin}-"):
            raise DownloadError(f"{file.links.url} was asked for bytes from {begin} and gave {given!r}{_environment()}")
    elif (length := answer.headers.get("Content-Length")) not in (None, str(file.size)):
        raise DownloadError(
            f"{file.links.url} gave {length} bytes instead of {file.size}: a proxy or a login page may answer in its "
            f"place{_environment()}; run the same command again later, what has come is kept"
        )
    elif begin:
        _say(f"  {file.key}: the server does not go on in the middle; from the beginning")
        advance(-begin / _MB)
        begin = 0
    try:
        with part.open("r+b") as stream:
            stream.truncate(begin)
            stream.seek(begin)
            for chunk in answer.iter_bytes():
                stream.write(chunk[: file.size - begin])
                begin += len(chunk)
                advance(len(chunk) / _MB)
    except OSError as error:
        raise DownloadError(
            f"{part} cannot be written: {error.strerror or error}; make room, and run the same command again: it goes "
            "on from there"
        ) from error


def _unpack(archive: Path) -> None:
    """Unpack a ZIP file into a folder of its name beside it, but for what lies there in its full size already."""
    folder = archive.with_suffix("")
    try:
        with zipfile.ZipFile(archive) as opened:
            for each in opened.infolist():
                each.filename = each.filename.replace("\\", "/")  # as Windows' packers may write it
            members = [each for each in opened.infolist() if not each.is_dir() and _wanted(archive, each.filename)]
            missing = [each for each in members if _size(folder / each.filename) != each.file_size]
            _require_room(archive.parent, sum(each.file_size for each in missing), f"unpacking {archive.name}")
            with track(f"unpacking {archive.name}", len(missing), unit="files") as advance:
                for each in missing:
                    opened.extract(each, folder)
                    advance(1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error) as error:
        raise DownloadError(
            f"{archive} cannot be unpacked: {error}; unpack it with another program, or leave that to --no-unpack"
        ) from error


def _wanted(archive: Path, name: str) -> bool:
    """Whether a member is of the data set and not of macOS's."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DownloadError(f"{archive} has a member {name!r}, which would lie outside of its folder; it is not opened")
    return path.parts[0] != "__MACOSX"


def _say(message: str) -> None:
    Console().print(message, highlight=False, markup=False, soft_wrap=True)
