"""``hal keys``: what it prints, what it writes, and what it refuses."""

import concurrent.futures
import hashlib
import json
import os
import re
import stat
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import hal
from service.auth.keys import KeysError, KeyStore, Role, add, read, revoke


def hal_keys(*arguments: str) -> Result:
    return CliRunner().invoke(hal.app, ["keys", *arguments])


def test_a_key_is_printed_once_and_only_its_hash_is_written(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    made = hal_keys("add", "--file", str(file), "--name", "analyser-1", "--role", "classify")
    assert made.exit_code == 0, made.stderr
    secret = made.stdout.strip()
    assert re.fullmatch(r"hal_[A-Za-z0-9_-]{43}", secret), "256 bits"
    written = file.read_text()
    assert secret not in written
    assert json.loads(written)["keys"][0]["sha256"] == hashlib.sha256(secret.encode()).hexdigest()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640, "for the group of the container's user"

    listed = hal_keys("list", "--file", str(file))
    assert listed.stdout.split()[:2] == ["analyser-1", "classify"]
    assert secret not in listed.stdout + listed.stderr

    assert hal_keys("revoke", "--file", str(file), "--name", "analyser-1").exit_code == 0
    assert read(file) == ()


def test_the_right_key_is_found_among_several_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    secrets = {name: add(file, name, Role.CLASSIFY) for name in ("a", "b", "c")}
    store = KeyStore(file)
    for name, secret in secrets.items():
        found = store.find(secret)
        assert found is not None
        assert found.name == name
    for wrong in ("", "hal_", secrets["a"][:-1], secrets["a"] + "x", "\udcff", "ключ"):
        assert store.find(wrong) is None


def test_keys_added_at_once_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda place: add(file, f"key-{place}", Role.CLASSIFY), range(24)))
    assert sorted(key.name for key in read(file)) == sorted(f"key-{place}" for place in range(24))


def test_a_changed_file_keeps_who_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    add(file, "a", Role.CLASSIFY)
    file.chmod(0o640)
    add(file, "b", Role.ADMIN)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_file_that_is_mounted_by_its_inode_sees_every_change(tmp_path: Path) -> None:
    file, mounted = tmp_path / "keys.json", tmp_path / "container" / "keys.json"
    kept, revoked = add(file, "a-name-that-is-longer-than-the-others", Role.CLASSIFY), add(file, "b", Role.ADMIN)
    mounted.parent.mkdir()
    mounted.hardlink_to(file)
    store = KeyStore(mounted)
    revoke(file, "b")
    new = add(file, "c", Role.CLASSIFY)
    revoke(file, "a-name-that-is-longer-than-the-others")
    store.reload()
    assert [key.name for key in read(mounted)] == ["c"]
    assert store.find(new) is not None
    assert store.find(revoked) is None
    assert store.find(kept) is None
    assert mounted.stat().st_ino == file.stat().st_ino


def test_a_half_written_file_is_read_again_even_if_it_looks_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    first = add(file, "a", Role.CLASSIFY)
    store = KeyStore(file)
    second = add(file, "b", Role.CLASSIFY)
    whole = file.read_bytes()
    file.write_bytes(whole[:-20].ljust(len(whole)))
    half = file.stat()
    store.reload()
    assert store.find(first) is not None
    assert store.find(second) is None
    file.write_bytes(whole)
    os.utime(file, ns=(half.st_atime_ns, half.st_mtime_ns))
    store.reload()
    assert store.find(second) is not None


def test_a_name_that_is_refused_leaves_no_empty_file_behind(tmp_path: Path) -> None:
    with pytest.raises(KeysError):
        add(tmp_path / "keys.json", "Anna Andersson", Role.CLASSIFY)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_done_says_why_and_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with pytest.raises(KeysError, match="no file of keys"):
        revoke(file, "a")
    add(file, "a", Role.CLASSIFY)
    before = file.read_bytes()
    with pytest.raises(KeysError, match="already"):
        add(file, "a", Role.ADMIN)
    with pytest.raises(KeysError, match="it has: a"):
        revoke(file, "b")
    with pytest.raises(KeysError, match="cannot be a name"):
        add(file, "Anna Andersson", Role.CLASSIFY)
    assert file.read_bytes() == before
    file.write_text('{"keys": [{"name": "a"}]}')
    with pytest.raises(KeysError, match=r"not a file of keys: keys\.0\.role"):
        add(file, "b", Role.CLASSIFY)
    failed = hal_keys("list", "--file", str(file))
    assert failed.exit_code == 1
    assert "Traceback" not in failed.stderr
