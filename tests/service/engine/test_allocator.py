import os
import platform
import subprocess
import sys

import pytest

from service.allocator import LARGE_BYTES

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is another one")

GAPS = f"""
import ctypes, sys
from service.allocator import give_large_blocks_back

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = (ctypes.c_size_t,)
libc.free.argtypes = (ctypes.c_void_p,)

def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

def block(size):
    address = libc.malloc(size)
    ctypes.memset(address, 1, size)
    return address

print(give_large_blocks_back())
libc.free(block(31 << 20))  # a photograph: from now on smaller ones come from the heap
before = resident_mib()
large = []
for _ in range(20):  # each followed by a cell that lives on
    large.append(block(3 * {LARGE_BYTES}))
    block(256 * 256 * 3)
for address in large:
    libc.free(address)
print(resident_mib() - before)
"""


def gaps(**variables: str) -> tuple[bool, float]:
    """Whether the allocator was told, and the MiB that a process still holds when its large blocks are free."""
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name} | variables
    done = subprocess.run([sys.executable, "-c", GAPS], env=environment, capture_output=True, text=True, check=True)
    told, held = done.stdout.split()
    return told == "True", float(held)


def test_large_blocks_go_back_to_the_system_when_they_are_free() -> None:
    told, held = gaps()
    assert told
    assert held < 5


def test_the_environment_s_word_stands() -> None:
    told, held = gaps(MALLOC_MMAP_THRESHOLD_="33554432")
    assert not told
    assert held > 40, "this is what happens without: the gaps stay"
