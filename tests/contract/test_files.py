"""The images below a folder; files that are whole or not at all, on a full disk, after a kill, behind links."""

import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract import bundle as bundles
from contract.files import image_files, write_text
from tests.paths import ROOT
from tests.service.tiny_bundle import write_tiny
from tests.unprivileged import heed_permissions

KILLED = """
import os, signal, sys
from pathlib import Path
from contract.files import replacing
with replacing(Path(sys.argv[1])) as unfinished:
    unfinished.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """No file can have more bytes than this."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_former_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    write_text(file, "the former")
    with pytest.raises(OSError, match="File too large"), full_disk(after=100):
        write_text(file, "x" * 1000)
    assert file.read_text() == "the former"
    assert [*tmp_path.iterdir()] == [file]


def test_a_killed_process_leaves_the_former_file_and_the_next_one_writes(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    write_text(file, "the former")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(file)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert file.read_text() == "the former"
    write_text(file, "the next, with µ")
    assert file.read_text(encoding="utf-8") == "the next, with µ"
    assert [*tmp_path.iterdir()] == [file]


def test_figures_that_find_no_room_leave_the_bundle_that_is_served(tmp_path: Path) -> None:
    former = write_tiny(tmp_path)
    with pytest.raises(OSError, match="File too large"), full_disk(after=1000):
        bundles.write(tmp_path, former.description.model_copy(update={"intended_use": "x" * 1000}))
    assert bundles.load(tmp_path).description == former.description


def test_what_a_link_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "figures.json", tmp_path / "link.json"
    link.symlink_to(target)
    for text in ("the first, of a link to nothing yet", "the second"):
        write_text(link, text)
        assert link.is_symlink()
        assert target.read_text() == text
        assert [*target.parent.iterdir()] == [target]


def test_a_pipe_is_written_straight_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "for the reader")
        assert os.read(reader, 100) == b"for the reader"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert [*tmp_path.iterdir()] == [pipe]


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    null, full = tmp_path / "null.json", tmp_path / "full.json"
    try:
        os.mknod(null, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(full, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
        full.write_bytes(b"")
    except PermissionError:
        pytest.skip("devices cannot be made or opened here")
    write_text(null, "gone")
    with pytest.raises(OSError, match="No space left"):
        write_text(full, "no room")
    assert null.is_char_device()
    assert full.is_char_device()


def test_standard_output_is_written_to(tmp_path: Path) -> None:
    code = "from pathlib import Path; from contract.files import write_text; write_text(Path('/dev/stdout'), 'said')"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert told.stdout == b"said"
    with (tmp_path / "out").open("wb") as stream:
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=stream, check=True)
        assert os.fstat(stream.fileno()).st_nlink == 1, "the shell's file is the one that was written"
    assert (tmp_path / "out").read_bytes() == b"said"


def test_each_real_folder_is_visited_once_under_its_own_name(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    smear = tmp_path / "smear"
    for path in (outside / "3.png", smear / "lymphocyte" / "1.PNG", smear / "monocyte" / "2.jpg", smear / "._2.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image")
    (smear / "all").symlink_to(smear / "monocyte")
    (smear / "monocyte" / "above").symlink_to(smear)
    (smear / "more").symlink_to(outside)
    (outside / "back").symlink_to(smear)
    (smear / "lost.jpg").symlink_to(tmp_path / "nowhere")
    found = image_files(smear)
    names = [path.relative_to(smear).as_posix() for path in found.images]
    assert names == ["lost.jpg", "lymphocyte/1.PNG", "monocyte/2.jpg", "more/3.png"]
    assert found.problems == []


def test_what_may_be_an_image_and_is_left_out_is_named(tmp_path: Path) -> None:
    for name in ("cell.webp", "notes.txt", "IM0001", "b.TXT"):
        (tmp_path / name).write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.jpg")
    found = image_files(tmp_path)
    assert found.images == []
    assert [path.name for path, _ in found.problems] == ["cell.webp", "pipe.jpg"]
    assert "expected files that end in .bmp" in found.problems[0].reason
    assert found.others == {".txt": 2, "": 1}


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (tmp_path / "1.png").write_bytes(b"image")
    closed.chmod(0)
    code = (
        "import sys; from pathlib import Path; from contract.files import image_files as f; print(f(Path(sys.argv[1])))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        preexec_fn=heed_permissions,
        capture_output=True,
        text=True,
        check=True,
    )
    closed.chmod(0o755)
    assert "closed'), reason='The folder cannot be listed: Permission denied.')" in told.stdout
    assert "1.png" in told.stdout
