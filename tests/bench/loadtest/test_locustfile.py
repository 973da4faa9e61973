"""The Locust file: headless against the real service, where Locust is installed."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from contract.bundle import Bundle
from tests.paths import ROOT
from tests.service.live_server import serving, until

LOCUST = os.environ.get("HAL_LOCUST") or shutil.which("locust", path=str(Path(sys.executable).parent))


@pytest.mark.skipif(
    LOCUST is None and importlib.util.find_spec("locust") is None,
    reason="Locust is not installed here (pip install locust, or HAL_LOCUST=its command)",
)
@pytest.mark.parametrize("bulk", ["1", "5"])
def test_locust_sends_cells_that_are_classified(bundle: Bundle, bulk: str) -> None:
    arguments = ["--headless", "--users", "2", "--run-time", "60s", "--json", "--only-summary"]
    with serving(bundle) as live:
        locust = subprocess.Popen(
            [str(LOCUST), "-f", "bench/loadtest/locustfile.py", "--host", live.url, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HAL_BULK": bulk},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            until(lambda: live.hal.statistics.answered > 20 or locust.poll() is not None)
            locust.send_signal(signal.SIGTERM)
            shown, said = locust.communicate(timeout=30)
        finally:
            locust.kill()
        answered = live.hal.statistics.answered
    assert locust.returncode == 0, said
    (row,) = json.loads(shown)
    assert row["num_requests"] > 2
    assert row["num_failures"] == 0
    assert answered >= row["num_requests"] * int(bulk)
