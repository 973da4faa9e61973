"""API keys: a file of hashes, what changes it, and the store that a service finds them in.

A key is 256 random bits, shown once when it is made; the file holds its SHA-256. A slow hash as for passwords would
protect nothing: what has 256 bits cannot be guessed, and it would cost every request.
"""

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from service.errors import UserError

logger = logging.getLogger("hal.keys")

PREFIX: Final = "hal_"
_SECRET_BYTES: Final = 32
_RECHECK_S: Final = 1.0


class Role(StrEnum):
    """What a key is for; each may do what those before it may. ``metrics`` reads ``/metrics`` and nothing else."""

    METRICS = "metrics"
    CLASSIFY = "classify"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        roles = list(Role)
        return roles.index(self) >= roles.index(needed)


class KeysError(UserError):
    """The file of keys cannot be used or changed."""


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


def read(path: Path) -> tuple[Key, ...]:
    """The keys of a file; :class:`KeysError` if it is not there, cannot be read or is not a file of keys."""
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


class KeyStore:
    """The keys of a file that may change while the service runs; it is looked at once a second while keys are used.

    A file that has gone lets nobody in. One that cannot be understood, because it is half written or a slip of the pen,
    leaves the former keys in force and is read again a second later; the log says so.

    Raises:
        KeysError: at the start there is no file, it is broken or it is empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._told = ""
        self._seen: tuple[int, int, int] | None = self._state()
        self._keys: tuple[Key, ...] = read(path)
        self._look_again = time.monotonic() + _RECHECK_S
        if not self._keys:
            raise KeysError(
                f"{path} holds no key, so nobody could use the service; add one with 'hal keys add --file {path} "
                "--role classify --name analyser-1'"
            )

    def find(self, presented: str) -> Key | None:
        """The key that was presented, or ``None``. The time taken tells nothing about any key."""
        if time.monotonic() >= self._look_again:
            self.reload()
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found

    def reload(self) -> None:
        with self._lock:
            self._look_again = time.monotonic() + _RECHECK_S
            state = self._state()
            if state == self._seen:
                return
            if state is None:
                self._keys = ()
                self._tell(f"the file of keys {self._path} has gone: every request is refused")
            else:
                try:
                    self._keys = read(self._path)
                except KeysError as error:
                    self._tell(f"the former keys stay in force: {error}")
                    return
                self._told = ""
                logger.info("%d keys are in force", len(self._keys))
            self._seen = state

    def _tell(self, problem: str) -> None:
        if problem != self._told:
            logger.error(problem)
        self._told = problem

    def _state(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def add(path: Path, name: str, role: Role) -> str:
    """Make a key, write its hash to the file, and return the key: it cannot be had again.

    Raises:
        KeysError: the name is taken or not a name, or the file cannot be used.
    """
    secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    try:
        made = Key(name=name, role=role, sha256=digest, created=datetime.now(UTC).replace(microsecond=0))
    except ValidationError:
        raise KeysError(
            f"{name!r} cannot be a name: expected 1 to 64 letters, digits and ._- that say which machine or person "
            "uses the key; it appears in the log"
        ) from None
    with _changing(path) as keys:
        if any(key.name == name for key in keys):
            raise KeysError(f"there is a key {name!r} already; revoke it first or choose another name")
        keys.append(made)
    return secret


def revoke(path: Path, name: str) -> None:
    """Remove a key; a running service refuses it within a second.

    Raises:
        KeysError: there is no such key, or the file cannot be used.
    """
    if not path.exists():
        read(path)
    with _changing(path) as keys:
        if not any(key.name == name for key in keys):
            known = ", ".join(key.name for key in keys) or "none"
            raise KeysError(f"there is no key {name!r} in {path}; it has: {known}")
        keys[:] = [key for key in keys if key.name != name]


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    """The keys, written back when the block ends well; two commands at once do not lose each other's change.

    The file is written in place: a container has one that is mounted into it by its inode, and would never see another
    file that takes its name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Readable by a group: that of the container's user, see docs/deploy.md.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        with os.fdopen(descriptor, "r+b") as file:
            with contextlib.suppress(ImportError):  # Windows
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_EX)  # Waits for other commands; the lock ends with the file.
            keys = [*read(path)] if (size := os.fstat(descriptor).st_size) else []
            yield keys
            text = _File(keys=tuple(keys)).model_dump_json(indent=2).encode() + b"\n"
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, len(text))  # A full disk is told before anything is written.
            # One write that leaves nothing of what was longer, so that a reader hardly ever finds half a file.
            file.write(text.ljust(size))
            file.flush()
            file.truncate(len(text))
            os.fsync(descriptor)
    except OSError as error:
        raise KeysError(f"the file of keys {path} cannot be changed: {error.strerror}") from error
