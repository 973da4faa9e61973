"""The service under a wall clock that jumps as the file in CLOCK_FILE says; run as a script."""

import os
import runpy
import time
from pathlib import Path

REAL_TIME = time.time
FILE = Path(os.environ["CLOCK_FILE"])


def jumping_time() -> float:
    return REAL_TIME() + float(FILE.read_text() or 0)


def jumping_time_ns() -> int:
    return int(1e9 * jumping_time())


time.time = jumping_time
time.time_ns = jumping_time_ns
runpy.run_module("service", run_name="__main__", alter_sys=True)
