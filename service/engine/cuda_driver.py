"""NVIDIA's driver, asked at once whether it sees a GPU: a session on CUDA finds out only after the bundle was read."""

import ctypes
import sys
from collections.abc import Callable
from typing import Any, Final

_LIBRARY: Final = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NO_DEVICE: Final = 100
"""CUDA_ERROR_NO_DEVICE of the CUDA driver API."""


def fault(open_library: Callable[[str], Any] = ctypes.CDLL) -> str | None:
    """Why no GPU can be used, or ``None`` if the driver sees one.

    Args:
        open_library: loads a shared library by name or raises :class:`OSError`.
    """
    try:
        driver = open_library(_LIBRARY)
    except OSError:
        return f"NVIDIA's driver is not here (no {_LIBRARY})"
    count = ctypes.c_int(0)
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code == _NO_DEVICE or (code == 0 and count.value == 0):
        return "NVIDIA's driver sees no GPU"
    return f"NVIDIA's driver does not start (CUDA error {code})" if code else None
