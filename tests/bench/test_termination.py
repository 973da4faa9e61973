import contextlib
import os
import signal
import subprocess
import sys
import threading
import uuid

import pytest

from contract.termination import descendants, nothing_left_running, stopped_by_sigterm
from tests import stubborn
from tests.paths import ROOT
from tests.processes import marked

PATIENCE_S = 60
COMMAND = """
import subprocess, sys, time
from contract.termination import nothing_left_running
with nothing_left_running():
    peer = subprocess.Popen([sys.executable, sys.argv[1]], start_new_session=True)
    try:
        time.sleep(600)
    finally:
        peer.terminate()
        peer.wait()
        print("told", flush=True)
        time.sleep(float(sys.argv[2]))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


def heed_ctrl_c() -> None:
    """A shell lets what it starts in the background ignore it, and so would all that the tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_nothing_that_was_started_outlives_a_stopped_command(sent: signal.Signals, again: bool) -> None:
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(stubborn.FILE), "1" if again else "0"],
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
        said = command.communicate(timeout=PATIENCE_S)[1]
        assert marked(mark) == []
    assert said.count("\nKeyboardInterrupt\n") == 1, said


def start(mark: str) -> "subprocess.Popen[str]":
    """A stubborn peer that is there."""
    pipe = subprocess.PIPE
    environment = {**os.environ, "HAL_TEST_MARK": mark}
    peer = subprocess.Popen([sys.executable, str(stubborn.FILE)], env=environment, stdin=pipe, stdout=pipe, text=True)
    assert peer.stdout is not None
    assert peer.stdout.readline() == "there\n"
    return peer


@pytest.mark.parametrize("fails", [False, True])
def test_the_end_of_the_block_ends_what_was_started_in_it_and_spares_the_rest(fails: bool) -> None:
    before, within = uuid.uuid4().hex, uuid.uuid4().hex
    earlier = start(before)
    try:
        with contextlib.suppress(ZeroDivisionError), nothing_left_running():
            later = start(within)
            assert len(marked(within)) == stubborn.PROCESSES
            assert len(descendants(later.pid)) == stubborn.PROCESSES - 2, "without its orphan and who left it"
            if fails:
                raise ZeroDivisionError
        assert marked(within) == []
        assert len(marked(before)) == stubborn.PROCESSES
        later.communicate()
    finally:
        with nothing_left_running():
            for process in marked(before):
                os.kill(process, signal.SIGKILL)
        earlier.communicate()


def test_signals_mean_afterwards_what_they_meant_before() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(KeyboardInterrupt), stopped_by_sigterm(), nothing_left_running():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in numbers] == before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with nothing_left_running():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_leaves_signals_to_the_main_thread_and_ends_processes_as_well() -> None:
    mark = uuid.uuid4().hex

    def work() -> None:
        with nothing_left_running():
            start(mark)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert marked(mark) == []
