"""The service (``python -m tests.fuzz.told_memory``) that at SIGUSR1 tells MEMORY_FILE what glibc has given out.

Resident memory that grows while this does not is what the allocator keeps, not what the service has lost.
"""

import ctypes
import os
import runpy
import signal
import sys
from pathlib import Path

_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class MallInfo2(ctypes.Structure):
    """``struct mallinfo2``, see mallinfo(3); of all arenas."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def tell(*_: object) -> None:
    """Bytes in use: of heaps, and of blocks that have pages of their own."""
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = MallInfo2
    held = libc.mallinfo2()
    file = Path(os.environ["MEMORY_FILE"])
    fresh = file.with_suffix(".new")
    fresh.write_text(str(held.uordblks + held.hblkhd))
    fresh.rename(file)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    sys.argv = ["hal"]
    runpy.run_module("service", run_name="__main__", alter_sys=True)
