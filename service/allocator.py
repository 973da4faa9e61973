"""glibc's allocator told to give large blocks back.

By itself it raises the size from which blocks come straight from the system, and go back there when they are freed, to
that of the largest block that was ever freed, up to 32 MiB, and what it keeps at the end of a heap to twice that. After
the first large photographs those of all sizes then come from its heaps, which small blocks that live on keep from
shrinking: with 50 MiB in use a service under fuzzing held 140 MiB of gaps. ``docs/reliability.md`` has the measurement.
"""

import ctypes
import os
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""From glibc's ``malloc.h``."""
LARGE_BYTES: Final = 1 << 20
"""More than a cell of 256x256 pixels (192 KiB), so that those still come from the heaps, without a page fault each."""
_KEPT_BYTES: Final = 8 << 20
"""What may stay free at the end of a heap; 128 KiB otherwise once the other value is set."""


def give_large_blocks_back() -> bool:
    """Fix the size of a large block for this process; gives whether that was done.

    Not done where the C library is another one, nor where the environment already says how it should be.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    told_already = "MALLOC_MMAP_THRESHOLD_" in os.environ or "glibc.malloc.mmap_threshold" in tunables
    if told_already or not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return all(
        libc.mallopt(ctypes.c_int(option), ctypes.c_int(value)) == 1
        for option, value in ((_M_MMAP_THRESHOLD, LARGE_BYTES), (_M_TRIM_THRESHOLD, _KEPT_BYTES))
    )
