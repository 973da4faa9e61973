"""The image's entry point as process 1, which the kernel spares signals that it has no handler for."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contract.bundle import Bundle
from tests.paths import ROOT
from tests.service.live_server import until
from tests.service.process import environment

ENTRYPOINT = json.loads(
    re.findall(r"^ENTRYPOINT (.+)$", (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)[0]
)
AS_PROCESS_1 = ("unshare", "--pid", "--fork", "--kill-child")


def namespaces() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*AS_PROCESS_1, "true"], capture_output=True, check=False).returncode == 0
    )


pytestmark = [
    pytest.mark.skipif(not namespaces(), reason="unshare --pid needs Linux and root"),
    pytest.mark.skipif(shutil.which(ENTRYPOINT[0]) is None, reason=f"{ENTRYPOINT[0]} is not installed"),
]


@pytest.mark.parametrize("after_s", [0.1, 1.0])
def test_sigterm_while_the_service_starts_ends_it(bundle: Bundle, after_s: float) -> None:
    command = [*AS_PROCESS_1, *ENTRYPOINT, sys.executable, "-m", "hal", "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment(HAL_BUNDLE=str(bundle.root)), stdout=subprocess.DEVNULL) as outside:
        try:
            children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
            until(lambda: bool(children.read_text()))
            first = Path("/proc") / children.read_text().split()[0]
            until(lambda: first.joinpath("comm").read_text().strip() != AS_PROCESS_1[0])
            time.sleep(after_s)
            os.kill(int(first.name), signal.SIGTERM)
            assert outside.wait(30) in (0, 128 + signal.SIGTERM)
        finally:
            outside.kill()
