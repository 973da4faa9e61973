"""What only a GPU needs: NVIDIA's driver asked whether there is one, and batches of fixed sizes in fixed memory.

For each size there is a host buffer, page-locked so that the copy to the device is one transfer, memory on the device
for the images and the outputs, and a binding of both to the session, made once. Since nothing of it ever moves, the
launches of a size can be recorded once and replayed as one (a CUDA graph).

Written from documentation (ONNX Runtime: I/O binding, CUDA execution provider) and NOT VERIFIED ON A GPU. Its logic is
tested on the CPU provider, where host and device are the same memory.
"""

import ctypes
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from contract.parts import IMAGE_SIDE, OUTPUT_SIZES, in_order

logger = logging.getLogger("hal.cuda")

_DRIVER: Final = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NO_DEVICE: Final = 100
"""CUDA_ERROR_NO_DEVICE of the CUDA driver API."""
_CUDART: Final = ("libcudart.so.13", "libcudart.so.12", "cudart64_13.dll", "cudart64_12.dll")


def driver_fault(open_library: Callable[[str], Any] = ctypes.CDLL) -> str | None:
    """Why no GPU can be used, ``None`` if the driver sees one. A session finds out only after the bundle was read."""
    try:
        driver = open_library(_DRIVER)
    except OSError:
        return f"NVIDIA's driver is not here (no {_DRIVER})"
    count = ctypes.c_int(0)
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code == _NO_DEVICE or (code == 0 and count.value == 0):
        return "NVIDIA's driver sees no GPU"
    return f"NVIDIA's driver does not start (CUDA error {code})" if code else None


def bucket_sizes(max_batch: int) -> tuple[int, ...]:
    """1, 2, 4, ... and ``max_batch`` itself.

    cuDNN 9 plans its convolutions again whenever the batch size changes (onnxruntime #23006: 30 ms become 500 ms), so
    on a GPU batches are padded to few sizes. On a CPU a batch of 1 is as fast per image as one of 16.
    """
    return (*(1 << power for power in range((max_batch - 1).bit_length())), max_batch)


class _Size:
    def __init__(self, session: Any, size: int, device: str) -> None:
        shape = [size, IMAGE_SIDE, IMAGE_SIDE, 3]
        self.host = np.zeros(shape, np.uint8)
        self.images = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, device, 0)
        self.binding = session.io_binding()
        self.binding.bind_ortvalue_input("image", self.images)
        self.outputs = []
        for name in in_order(output.name for output in session.get_outputs()):
            shape = [size, OUTPUT_SIZES[name]]
            self.outputs.append(ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, device, 0))
            self.binding.bind_ortvalue_output(name, self.outputs[-1])
        self.options = ort.RunOptions()


class BoundBatches:
    """Runs a session in batches of the given sizes, ascending.

    ``device`` is where it runs, in ONNX Runtime's words (``cuda``, ``cpu``). With ``graphs`` it was opened with
    ``enable_cuda_graph``, and each size gets a graph of its own.
    """

    def __init__(self, session: Any, sizes: Sequence[int], device: str, *, graphs: bool = False) -> None:
        self._session = session
        self.sizes = tuple(sizes)
        self._bound = {size: _Size(session, size, device) for size in sizes}
        for number, bound in enumerate(self._bound.values(), start=1):
            if graphs:
                bound.options.add_run_config_entry("gpu_graph_id", str(number))
            if device == "cuda":
                _lock_pages(bound.host)

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits ``[n, 20]`` and features ``[n, 2048]`` or more of images ``[n, 256, 256, 3]``.

        They are padded to the smallest size that holds them, by whatever the batch before left there: its outputs are
        dropped.
        """
        count = len(images)
        bound = self._bound[min(size for size in self.sizes if size >= count)]
        bound.host[:count] = images
        bound.images.update_inplace(bound.host)
        self._session.run_with_iobinding(bound.binding, bound.options)
        # A copy on the CPU too, where the next batch would otherwise overwrite what was answered.
        logits, *features = (np.array(output.numpy()[:count]) for output in bound.outputs)
        return logits, np.concatenate(features, axis=1)


def _lock_pages(buffer: NDArray[np.uint8]) -> None:
    """Page-lock a buffer for the life of the process; without it the driver copies through a buffer of its own."""
    for name in _CUDART:
        try:
            runtime = ctypes.CDLL(name)
        except OSError:
            continue
        status = runtime.cudaHostRegister(ctypes.c_void_p(buffer.ctypes.data), ctypes.c_size_t(buffer.nbytes), 0)
        if status:
            logger.warning("cudaHostRegister failed with status %d: copies to the GPU will be slower", status)
        return
    logger.warning(
        "no CUDA runtime library found to page-lock %d bytes: copies to the GPU will be slower", buffer.nbytes
    )
