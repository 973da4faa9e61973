"""``hal score``: with real workers, that are held up by pipes in the place of images and killed."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

import hal
from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from service.jobs.records import COLUMNS
from tests.processes import Command, command
from tests.service.process import PATIENCE_S, ROOT, environment

needs_ray = pytest.mark.skipif(
    sys.platform != "linux" or find_spec("ray") is None, reason="the extra 'score' is not installed, or no /proc"
)


PATIENCE = float(os.environ.get("HAL_SCORE_PATIENCE", 3 * PATIENCE_S))
"""Ray starts a dozen processes, each of which imports half of Python."""

POLL_S = 0.5
"""To look at all files that are open is work, of which Ray has enough."""
RAY = {"RAY_worker_niceness": "0", "RAY_prestart_worker_first_driver": "0"}
"""All processes are alike, and none is started before it is needed."""
CHECKS = {"RAY_health_check_period_ms": "300"}
"""A machine is lost after five checks that fail at once; one that is busy has 10 s for each, as ever."""


@dataclass
class HeldUp:
    """A pipe in the place of an image: whoever reads it waits until it is fed or dies."""

    path: Path
    image: bytes = field(repr=False)
    _end: int = -1

    @classmethod
    def at(cls, path: Path) -> "HeldUp":
        image = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        return cls(path, image, os.open(path, os.O_RDWR))

    def feed(self) -> None:
        """Give it to who waits, and to whoever reads it later."""
        image = self.path.with_suffix(".whole")
        image.write_bytes(self.image)
        image.replace(self.path)
        os.write(self._end, self.image)
        self.give_up()

    def give_up(self) -> None:
        os.close(self._end)


def readers(*pipes: HeldUp) -> list[set[int]]:
    """The processes that wait at each."""
    found: dict[str, set[int]] = {str(pipe.path): set() for pipe in pipes}
    for process in os.scandir("/proc"):
        if process.name.isdigit() and process.name != str(os.getpid()):
            # It, or the file that it has open, may have gone meanwhile.
            with contextlib.suppress(OSError):
                for link in os.scandir(f"/proc/{process.name}/fd"):
                    with contextlib.suppress(OSError):
                        file = os.readlink(link)  # noqa: PTH115 - of a name that may be anything
                        found.get(file, set()).add(int(process.name))
    return [*found.values()]


@dataclass(frozen=True)
class TwoMachines:
    """A cluster of two machines of one core each; the second can be lost."""

    address: str
    process: "subprocess.Popen[str]"

    def lose(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print("lose", file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "lost\n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoMachines]:
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("two_machines.py"))],
        env=environment(RAY_USAGE_STATS_ENABLED="0", **RAY, **CHECKS),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "the cluster did not start"
        yield TwoMachines(address, process)


def scoring(bundle: Bundle, *arguments: object) -> AbstractContextManager[Command]:
    """``hal score`` in a process of its own."""
    variables = environment(HAL_BUNDLE=str(bundle.root), COLUMNS="200", **RAY)
    return command("-m", "hal", "score", *map(str, arguments), environment=variables)


def end_of(run: Command) -> tuple[int, str]:
    """Exit code and standard error."""
    _, said = run.process.communicate(timeout=PATIENCE)
    return run.process.returncode, said


def listed(archive: Path) -> Path:
    """A list with the files of an archive: pipes are images only if they are named."""
    path = archive.with_suffix(".csv")
    path.write_text("\n".join(["path", *map(str, sorted(archive.iterdir()))]) + "\n")
    return path


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pyarrow.parquet.read_table(out / "results").to_pylist()
    return found


def expect_the_whole_archive(out: Path, archive: Path, *, died: str) -> None:
    found = rows(out)
    assert [row["path"] for row in found] == [str(path) for path in sorted(archive.iterdir())]
    assert list(found[0]) == list(COLUMNS)
    expected = [*CLASS_NAMES, None]
    for row, name in zip(found, expected, strict=True):
        assert row["class_name"] == (None if row["path"] == died else name), row


@needs_ray
def test_a_lost_machine_takes_its_work_along_and_a_rerun_on_the_rest_does_it_but_for_an_image_that_kills_its_worker(
    cluster: TwoMachines, archive: Path, tmp_path: Path, bundle: Bundle
) -> None:
    here = tmp_path / "here.parquet"
    classified = CliRunner().invoke(
        hal.app,
        ["classify", str(archive), "--out", str(here)],
        env={"HAL_BUNDLE": str(bundle.root), "HAL_ENGINE_THREADS": "1"},
    )
    assert classified.exit_code == 2, classified.output
    # A worker has two chunks at once, so that all four are with the two workers.
    pipes = [HeldUp.at(archive / name) for name in ("02.png", "07.png", "12.png", "17.png")]
    out = tmp_path / "scores"
    arguments = [listed(archive), "--out", out, "--shard-size", 5, "--address", cluster.address]

    def all_held_up() -> bool:
        found = readers(*pipes)
        return all(found) and len(set.union(*found)) == 2

    with scoring(bundle, *arguments) as run:
        assert run.has_come_to(all_held_up, PATIENCE, POLL_S)
        cluster.lose()
        assert run.has_come_to(lambda: len(set.union(*readers(*pipes))) == 1, PATIENCE, POLL_S)
        # One of those that the lost machine held: what it held is left for the rerun.
        deadly = next(pipe for pipe, held in zip(pipes, readers(*pipes), strict=True) if not held)
        for pipe in pipes:
            if pipe is not deadly:
                pipe.feed()
        assert run.has_come_to(lambda: len(list(out.glob("results/*.parquet"))) == 3, PATIENCE)
        run.process.send_signal(signal.SIGTERM)
        code, stderr = end_of(run)
        assert code == 130, stderr
    kept = {path: path.stat().st_mtime_ns for path in (out / "results").iterdir()}
    with scoring(bundle, *arguments) as run:
        while run.process.poll() is None:
            for reader in readers(deadly)[0]:
                os.kill(reader, signal.SIGKILL)
            time.sleep(POLL_S)
        code, stderr = end_of(run)
    deadly.give_up()
    assert code == 2, stderr
    # The image took two pairs of workers along; before the first and between the two others were scored.
    assert re.search("were there already, 2 refused by [123] workers", stderr), stderr
    assert f"{deadly.path}: The process that worked on this image died" in stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    expect_the_whole_archive(out, archive, died=str(deadly.path))
    for row, other in zip(rows(out), pyarrow.parquet.read_table(here).to_pylist(), strict=True):
        assert row["path"] == str(deadly.path) or comparable(row) == comparable(other)


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what the file system says of the file: pipes took the place of some."""
    return {name: value for name, value in row.items() if name not in ("file_bytes", "file_mtime_ns")}


@needs_ray
def test_ctrl_c_keeps_the_shards_that_are_done_and_leaves_no_process_behind(
    archive: Path, tmp_path: Path, bundle: Bundle
) -> None:
    held_up = HeldUp.at(archive / "02.png")
    out = tmp_path / "scores"
    with scoring(bundle, listed(archive), "--out", out, "--shard-size", 5, "--workers", 1) as run:
        assert run.has_come_to(
            lambda: len(list(out.glob("results/*.parquet"))) == 4 and bool(readers(held_up)[0]), PATIENCE, POLL_S
        )
        run.process.send_signal(signal.SIGINT)
        code, stderr = end_of(run)
        assert code == 130, stderr
        assert stderr.endswith("hal score: stopped; run the same command again to go on\n")
        assert run.running() == 0
    held_up.give_up()
    assert [path.stem for path in sorted((out / "results").iterdir())] == ["00001", "00002", "00003", "00004"]


def test_without_ray_the_command_says_what_to_install_and_the_service_lacks_nothing(
    archive: Path, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    arguments = [str(archive), "--out", str(tmp_path / "scores")]
    found = CliRunner().invoke(hal.app, ["score", *arguments], env={"HAL_BUNDLE": str(bundle.root)})
    assert found.exit_code == 1
    assert "ray not installed; in the folder of HAL's source: .venv/bin/pip install -e '.[score]'" in found.output
    loaded = "import sys, service.http.app, hal; sys.exit(bool({'ray', 'fsspec', 'pyarrow'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, env=environment(), check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-such-option"], "No such option"),
        (["nowhere", "--out", "OUT"], "there is no nowhere"),
        (["ARCHIVE", "--out", "OUT", "--format", "xlsx"], "xlsx"),
        (["ARCHIVE", "--out", "OUT", "--device", "gpu"], "HAL_DEVICE='gpu'"),
        (["ARCHIVE", "--out", "OUT", "--bundle", "nowhere"], "no bundle.json in nowhere"),
        (["ARCHIVE"], "--out"),
    ],
)  # fmt: skip
def test_wrong_usage_ends_with_1_and_a_message(
    archive: Path, tmp_path: Path, bundle: Bundle, arguments: list[str], message: str
) -> None:
    pytest.importorskip("ray", reason="the extra 'score' is not installed")
    given = [{"ARCHIVE": str(archive), "OUT": str(tmp_path / "scores")}.get(text, text) for text in arguments]
    found = CliRunner().invoke(hal.app, ["score", *given], env={"HAL_BUNDLE": str(bundle.root), "COLUMNS": "200"})
    assert found.exit_code == 1, found.output
    assert message in found.output
    assert "Traceback" not in found.output
