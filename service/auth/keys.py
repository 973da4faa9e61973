"""API keys: a file of hashes, who may do what, and the file's commands.

A key is 256 random bits, shown once when it is made; the file holds its SHA-256. A slow hash as for passwords would
protect nothing: what has 256 bits cannot be guessed, and it would cost every request.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from contract.atomic import replacing

PREFIX: Final = "hal_"
_SECRET_BYTES: Final = 32


class Role(StrEnum):
    """What a key is for; ``admin`` may do what ``classify`` may."""

    CLASSIFY = "classify"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        """Whether this role may do what ``needed`` may."""
        return self is needed or self is Role.ADMIN


class KeysError(Exception):
    """The file of keys cannot be used or changed; the message says what was wrong and what to do."""


class Key(BaseModel):
    """One line of the file: everything about a key but the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    role: Role
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created: AwareDatetime


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    keys: tuple[Key, ...] = ()


def find(keys: Iterable[Key], presented: str) -> Key | None:
    """The key that was presented, or ``None``. The time taken tells nothing about any key."""
    digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).hexdigest()
    found = None
    for key in keys:
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


def read(path: Path) -> tuple[Key, ...]:
    """The keys of a file.

    Raises:
        KeysError: it is not there, cannot be read or is not a file of keys.
    """
    try:
        return _File.model_validate_json(path.read_bytes()).keys
    except FileNotFoundError:
        raise KeysError(
            f"there is no file of keys at {path}; make one with 'hal keys add --file {path} --role classify --name "
            "analyser-1', or correct HAL_KEYS_FILE"
        ) from None
    except OSError as error:
        raise KeysError(
            f"the file of keys {path} cannot be read: {error.strerror}; the service's user must be able to read it"
        ) from error
    except ValidationError as error:
        where = "; ".join(
            f"{'.'.join(map(str, detail['loc'])) or 'file'}: {detail['msg']}" for detail in error.errors()
        )
        raise KeysError(f"{path} is not a file of keys: {where[:500]}; change it only with 'hal keys'") from error


def add(path: Path, name: str, role: Role) -> str:
    """Make a key, write its hash to the file, and return the key: it cannot be had again.

    Raises:
        KeysError: the name is taken or not a name, or the file cannot be used.
    """
    secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    with _changing(path) as keys:
        if any(key.name == name for key in keys):
            raise KeysError(f"there is a key {name!r} already; revoke it first or choose another name")
        try:
            keys.append(Key(name=name, role=role, sha256=digest, created=datetime.now(UTC).replace(microsecond=0)))
        except ValidationError:
            raise KeysError(
                f"{name!r} cannot be a name: expected 1 to 64 letters, digits and ._- that say which machine or person "
                "uses the key; it appears in the log"
            ) from None
    return secret


def revoke(path: Path, name: str) -> None:
    """Remove a key; a running service refuses it within a second.

    Raises:
        KeysError: there is no such key, or the file cannot be used.
    """
    with _changing(path, must_exist=True) as keys:
        if not any(key.name == name for key in keys):
            known = ", ".join(key.name for key in keys) or "none"
            raise KeysError(f"there is no key {name!r} in {path}; it has: {known}")
        keys[:] = [key for key in keys if key.name != name]


@contextlib.contextmanager
def _changing(path: Path, *, must_exist: bool = False) -> Iterator[list[Key]]:
    """The keys, written back whole when the block ends well; two commands at once do not lose each other's change."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            keys = [*read(path)] if must_exist or path.exists() else []
            yield keys
            _write(path, keys)
    except OSError as error:
        raise KeysError(f"the file of keys {path} cannot be changed: {error.strerror}") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, keys: Iterable[Key]) -> None:
    text = _File(keys=tuple(keys)).model_dump_json(indent=2) + "\n"
    mode, owner = 0o600, None
    if path.exists():
        # Whoever runs the service must still be able to read the file afterwards.
        status = path.stat()
        mode, owner = status.st_mode & 0o777, (status.st_uid, status.st_gid)
    with replacing(path) as unfinished:
        unfinished.touch(0o600)
        unfinished.write_text(text, encoding="utf-8")
        unfinished.chmod(mode)
        if owner is not None and hasattr(os, "chown"):
            with contextlib.suppress(PermissionError):
                os.chown(unfinished, *owner)
