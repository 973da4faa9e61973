"""A process that is given no more threads; see docs/reliability.md."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contract.bundle import Bundle
from tests.service.live_server import until
from tests.service.load_clients import code_of, post
from tests.service.process import PATIENCE_S, environment, running
from tests.service.tiny_bundle import TinyNetwork, encoded

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("setpriv") is None or os.geteuid() != 0,
    reason="only root of Linux may run as another user",
)

LIMITED = """
import resource, runpy, signal
_, most = resource.getrlimit(resource.RLIMIT_NPROC)
threads = 0
def one_more(*_):
    global threads
    threads += 1
    resource.setrlimit(resource.RLIMIT_NPROC, (threads, most))
signal.signal(signal.SIGUSR1, one_more)
one_more()
runpy.run_module("service", run_name="__main__")
"""
"""The service with its first thread and no other; SIGUSR1 allows one more."""
CAPABILITY = "+dac_override"
USER = ("setpriv", "--reuid=54321", "--clear-groups", f"--inh-caps=-all,{CAPABILITY}", f"--ambient-caps={CAPABILITY}")
"""The limit does not bind root, and counts the threads of all processes of a user: one that has no other, and may read
what root wrote."""
FEW = {"HAL_ENGINE_THREADS": "3", "HAL_DECODE_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}


@pytest.mark.serial  # of a signal that the service has not heeded in time there would be a thread too many
def test_without_threads_it_is_alive_and_not_ready_until_there_are_enough(bundle: Bundle, network: TinyNetwork) -> None:
    cell = encoded(network.cell(1))
    limited = ("-c", LIMITED)
    with running(bundle.root, program=limited, through=USER, wait=False, **FEW) as served:
        until(lambda: served.logged("gives this process no more threads"))
        while served.answers("/health/ready") != 200:
            assert served.answers("/health/live") == 200
            answer = post(served, cell)
            assert answer.status_code == 200 or code_of(answer) == "starting"
            served.send(signal.SIGUSR1)
            time.sleep(0.6)  # a little more than it takes to try again
        # Whatever is asked for now finds its threads running.
        assert post(served, *[cell] * 20).status_code == 200
        with served.http() as http:
            results = post(served, cell).json()
            assert http.post("/slides/summary", json=results).status_code == 200
            assert [http.get(path).status_code for path in ("/", "/docs", "/openapi.json", "/metrics")] == [200] * 4
            reload = http.post("/admin/reload")
            assert reload.status_code == 409
            assert "no more threads" in reload.json()["error"]["message"]
        assert post(served, cell).status_code == 200
        assert served.stop() == 0


def test_it_ends_as_usual_while_it_waits_for_threads(bundle: Bundle) -> None:
    with running(bundle.root, program=("-c", LIMITED), through=USER, wait=False, **FEW) as served:
        until(lambda: served.logged("gives this process no more threads"))
        assert served.stop() == 0
        assert "Traceback" not in served.log.read_text()


def test_without_a_thread_for_spans_it_serves_without_them(bundle: Bundle) -> None:
    variables = FEW | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with running(bundle.root, program=("-c", LIMITED), through=USER, wait=False, **variables) as served:
        until(lambda: served.logged("no spans are sent until the next start: the system gives"))
        until(lambda: served.answers("/health/live") == 200)
        assert served.stop() == 0
        assert "Traceback" not in served.log.read_text()


def test_an_audit_trail_without_a_thread_is_one_clear_message(bundle: Bundle, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    finished = subprocess.run(
        [*USER, sys.executable, "-c", LIMITED],
        env=environment(HAL_BUNDLE=str(bundle.root), PORT="0", HAL_AUDIT=f"sqlite:///{tmp_path}/audit.db", **FEW),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("hal serve: the system gives this process no more threads"), finished.stderr
