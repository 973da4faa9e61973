"""``hal data download``: a public record of Zenodo, whole or not at all, however often the connection breaks.

A file is written as ``NAME.part`` and gets its name when its size and MD5 are those of the record. What was cut goes on
where it ended. ZIP files are unpacked beside it, each into a folder of its name.
"""

import hashlib
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final

import httpx
from pydantic import AliasPath, BaseModel, Field, ValidationError
from rich.filesize import decimal

from contract.files import write_text
from training.errors import TrainingError
from training.progress import say, track

RECORDS: Final = MappingProxyType({"mll23": 14277609})
"""Data sets by the name of their preset."""
ATTEMPTS: Final = 6
"""In a row that bring no byte, before it is given up."""
PAUSE_S = 1.0
"""Before the second attempt; doubled before each further one."""
LONGEST_PAUSE_S: Final = 60.0
_MB: Final = 1e6
_TIMEOUT: Final = httpx.Timeout(60.0, connect=15.0)
_TEMPORARY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_AGAIN: Final = "run the same command again later, what has come is kept"
_DIRECTED: Final = "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR direct connections"


class DownloadError(TrainingError):
    """The record, or one of its files, cannot be had."""


class RemoteFile(BaseModel):
    """A file of a record; ``md5`` has 32 hex digits."""

    name: str = Field(alias="key", pattern=r"^[^/\\\x00]*[^/\\\x00.][^/\\\x00]*$")
    size: int = Field(ge=0)
    checksum: str = Field(pattern=r"^md5:[0-9a-f]{32}$")
    url: str = Field(validation_alias=AliasPath("links", "self"))

    def is_in(self, path: Path) -> bool:
        return path.is_file() and path.stat().st_size == self.size and _md5(path) == self.checksum


class ZenodoRecord(BaseModel):
    """The answer to ``GET /api/records/NUMBER``, as far as it is needed."""

    id: int
    title: str = Field("", validation_alias=AliasPath("metadata", "title"))
    licence: str = Field("no licence stated", validation_alias=AliasPath("metadata", "license", "id"))
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
    """Bring a record's files, or those that match ``only``, into a folder; what is there and right is left alone.

    Raises:
        DownloadError: there is no such record, no room for it, or its files do not come or are not what it says.
    """
    number = record_number(name)
    try:
        http = httpx.Client(timeout=_TIMEOUT, follow_redirects=True, headers={"Accept-Encoding": "identity"})
    except (httpx.InvalidURL, ValueError, ImportError, OSError) as error:
        raise DownloadError(f"no connection can be set up: {error}; {_DIRECTED}") from error
    try:
        with http:
            answer = _asked(http, f"{zenodo.rstrip('/')}/api/records/{number}")
            record = _understood(answer, number)
            chosen = [file for file in record.files if not only or any(fnmatch(file.name, each) for each in only)]
            if not chosen:
                there = f" that matches {', '.join(only)}; it has {', '.join(file.name for file in record.files)}"
                raise DownloadError(f"record {number} has no public file{there if only else ''}")
            _tell(record, chosen)
            if just_list:
                return
            out.mkdir(parents=True, exist_ok=True)
            write_text(out / f"zenodo-{record.id}.json", answer.text)
            missing = [file for file in chosen if not file.is_in(out / file.name)]
            _require_room(out, sum(file.size - _size(_part(out, file)) for file in missing), "the download")
            for file in missing:
                _fetch(http, file, out)
    except (httpx.HTTPError, httpx.InvalidURL, OverflowError, ExceptionGroup) as error:  # the last two: proxies' ports
        raise DownloadError(f"the connection failed: {_named(error)}; {_AGAIN}; {_DIRECTED}") from error
    if unpack:
        for file in chosen:
            if file.name.lower().endswith(".zip"):
                _unpack(out / file.name)
    say(f"{len(chosen)} files in {out}")


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


def _asked(http: httpx.Client, url: str, attempts: int = ATTEMPTS) -> httpx.Response:
    """The answer to a GET that says yes; failures and temporary refusals are tried again."""
    answer = None
    try:
        answer = http.get(url)
    except httpx.UnsupportedProtocol:
        raise
    except httpx.TransportError:
        if attempts == 1:
            raise
    if answer is None or (answer.status_code in _TEMPORARY and attempts > 1):
        _wait(ATTEMPTS - attempts, answer)
        return _asked(http, url, attempts - 1)
    _require_success(answer, url)
    return answer


def _wait(attempt: int, answer: httpx.Response | None) -> None:
    """Before another attempt: as long as the server asks for, or twice as long as before."""
    asked = "" if answer is None else answer.headers.get("Retry-After", "")
    seconds = float(asked) if asked.isdigit() else PAUSE_S * 2**attempt
    time.sleep(min(seconds, LONGEST_PAUSE_S))


def _require_success(answer: httpx.Response, url: str) -> None:
    if answer.is_success:
        return
    advice = {
        403: "it is restricted; ask its authors, download by a browser, and give the folder on",
        404: "there is no such public record or file; compare the number with Zenodo's page",
    }
    same = {401: 403, 410: 404}.get(answer.status_code, answer.status_code)
    said = f"GET {url} was answered {answer.status_code} {answer.reason_phrase}"
    raise DownloadError(f"{said}: {advice.get(same, _AGAIN)}")


def _understood(answer: httpx.Response, number: int) -> ZenodoRecord:
    try:
        return ZenodoRecord.model_validate_json(answer.content)
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'all of it'}: {e['msg']}" for e in error.errors()[:5])
        raise DownloadError(f"the answer for record {number} is not Zenodo's ({fields})") from error


def _tell(record: ZenodoRecord, chosen: Sequence[RemoteFile]) -> None:
    say(f"record {record.id}: {record.title} ({record.licence}; read its terms)")
    for file in chosen:
        say(f"  {decimal(file.size):>10}  {file.name}")
    say(f"  {decimal(sum(file.size for file in chosen)):>10}  together")


def _require_room(folder: Path, needed: int, what: str) -> None:
    if needed > (free := shutil.disk_usage(folder).free):
        raise DownloadError(
            f"{folder} has room for {decimal(free)}, {what} needs {decimal(needed)}; make room, or name a "
            "folder on another disk; what has come is kept"
        )


def _part(out: Path, file: RemoteFile) -> Path:
    return out / f"{file.name}.part"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return f"md5:{hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()}"


def _fetch(http: httpx.Client, file: RemoteFile, out: Path) -> None:
    """Bring one file; a wrong MD5 gets a second, whole download, since what was resumed may be of another time."""
    part = _part(out, file)
    for _ in range(2):
        _fill(http, file, part)
        if (found := _md5(part)) == file.checksum:
            part.replace(out / file.name)
            return
        part.unlink()
    raise DownloadError(
        f"{file.name} came with {found}, the record says {file.checksum}, twice; it was deleted: a proxy may change "
        "it, or the record is damaged"
    )


def _fill(http: httpx.Client, file: RemoteFile, part: Path) -> None:
    """Make ``part`` as long as the file is, from where it ends."""
    if _size(part) > file.size:
        part.unlink()
    part.touch()
    fruitless = 0
    with track(file.name, file.size / _MB, _size(part) / _MB, unit="MB") as advance:
        while (begin := _size(part)) < file.size:
            answer = None
            try:
                with http.stream("GET", file.url, headers={"Range": f"bytes={begin}-"}) as answer:
                    if answer.status_code not in _TEMPORARY:
                        _require_success(answer, file.url)
                        _write(answer, file, part, begin, advance)
                why = f"{answer.status_code} {answer.reason_phrase}"
            except httpx.UnsupportedProtocol:
                raise
            except httpx.TransportError as error:
                why = _named(error)
            if (now := _size(part)) >= file.size:
                return
            fruitless = 0 if now > begin else fruitless + 1
            if fruitless == ATTEMPTS:
                come = f"{decimal(now)} of {decimal(file.size)}"
                raise DownloadError(f"{file.name} does not come any further than {come} ({why}); {_AGAIN}")
            _wait(fruitless, answer)


def _write(answer: httpx.Response, file: RemoteFile, part: Path, begin: int, advance: Callable[..., None]) -> None:
    """Append what comes; from the first byte where the server knows no ranges."""
    if answer.status_code == httpx.codes.PARTIAL_CONTENT:
        if not (given := answer.headers.get("Content-Range", "")).startswith(f"bytes {begin}-"):
            raise DownloadError(f"{file.url} was asked for bytes from {begin} and gave {given!r}")
    elif (length := answer.headers.get("Content-Length")) not in (None, str(file.size)):
        raise DownloadError(
            f"{file.url} gave {length} bytes instead of {file.size}: a proxy or a login page may answer in its "
            f"place; {_AGAIN}"
        )
    elif begin:
        say(f"  {file.name}: the server does not go on in the middle; from the beginning")
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
        raise DownloadError(f"{part} cannot be written: {error.strerror or error}; make room; {_AGAIN}") from error


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


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
