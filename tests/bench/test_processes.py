import contextlib
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from bench.processes import apart, cpu_s, environment, family, machine, memory_bytes, nvidia_smi, stoppable
from tests import stubborn
from tests.paths import ROOT
from tests.processes import marked

COMMAND = """
import subprocess, sys, time
from bench.processes import stoppable
with stoppable():
    peer = subprocess.Popen([sys.executable, sys.argv[1]], start_new_session=True)
    try:
        time.sleep(600)
    finally:
        print("told", flush=True)
        time.sleep(float(sys.argv[2]))
"""
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


def heed_ctrl_c() -> None:
    """A shell lets what it starts in the background ignore it, and so would all that the tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@on_linux
@pytest.mark.parametrize(
    ("sent", "again"), [(signal.SIGTERM, False), (signal.SIGINT, True)], ids=["SIGTERM once", "SIGINT twice"]
)
def test_nothing_that_was_started_outlives_a_stopped_command(sent: signal.Signals, again: bool) -> None:
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(stubborn.FILE), "0.5" if again else "0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HAL_TEST_MARK": mark},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    ) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "there\n"
        assert len(marked(mark)) == 1 + stubborn.PROCESSES
        command.send_signal(sent)
        assert command.stdout.readline() == "told\n"
        if again:
            command.send_signal(sent)
        said = command.communicate(timeout=60)[1]
        assert marked(mark) == []
    assert said.count("\nKeyboardInterrupt\n") == 1, said


def start(mark: str) -> "subprocess.Popen[str]":
    """A stubborn peer that is there."""
    pipe = subprocess.PIPE
    variables = {**os.environ, "HAL_TEST_MARK": mark}
    peer = subprocess.Popen([sys.executable, str(stubborn.FILE)], env=variables, stdin=pipe, stdout=pipe, text=True)
    assert peer.stdout is not None
    assert peer.stdout.readline() == "there\n"
    return peer


@on_linux
@pytest.mark.parametrize("fails", [False, True])
def test_the_end_of_the_block_ends_what_was_started_in_it_and_spares_the_rest(fails: bool) -> None:
    before, within = uuid.uuid4().hex, uuid.uuid4().hex
    with stoppable():
        earlier = start(before)
        with contextlib.suppress(ZeroDivisionError), stoppable():
            later = start(within)
            if fails:
                raise ZeroDivisionError
        assert marked(within) == []
        assert len(marked(before)) == stubborn.PROCESSES
        later.communicate()
    assert marked(before) == []
    earlier.communicate()


def test_signals_mean_afterwards_what_they_meant_before() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(KeyboardInterrupt), stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in numbers] == before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def process_of(number: int) -> int:
    """Something that a process of its own does, with output that is not its answer."""
    print("not the answer")  # noqa: T201
    return os.getpid() if number == 1 else 1 // number


def test_a_function_is_called_in_a_process_of_its_own() -> None:
    assert apart(process_of, 1) != os.getpid()
    with pytest.raises(subprocess.CalledProcessError):
        apart(process_of, 0)


BUSY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "held = bytearray(b'x' * (64 << 20)); print('held'); input()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
end = time.process_time() + 0.2
while time.process_time() < end:
    pass
print("held", flush=True)
input()
child.communicate(b"\\n")
"""


def test_processor_time_and_memory_of_children_count() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        members = family(psutil.Process(process.pid))
        spent, held = cpu_s(members), memory_bytes(members)
        process.communicate(b"\n")
    assert len(members) == 2
    assert 0.2 <= spent < 5
    assert 64 << 20 < held < 128 << 20
    assert (cpu_s(members), memory_bytes(members)) == (0, 0), "of processes that have ended"


def test_what_is_started_has_no_settings_from_outside_and_no_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAL_MAX_BATCH", "3")
    made = environment(HAL_BUNDLE="tiny")
    assert "HAL_MAX_BATCH" not in made
    assert (made["HAL_BUNDLE"], made["ORT_DISABLE_TELEMETRY"]) == ("tiny", "1")


def test_the_machine_is_described() -> None:
    found = machine()
    assert found["cores"] >= 1
    assert found["libraries"]["numpy"]


def test_nvidia_s_tool_is_asked_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_smi("name,memory.total") == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho NVIDIA H200, 143771\n")
    tool.chmod(0o755)
    assert nvidia_smi("name,memory.total") == ["NVIDIA H200", "143771"]
    tool.write_text("#!/bin/sh\necho it cannot talk to the driver; exit 9\n")
    assert nvidia_smi("name,memory.total") == []
