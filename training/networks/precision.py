"""Whether the device of a training computes in the precision that a recipe asks for, or only imitates it slowly.

CUDA's tensor cores take float16 from compute capability 7 and bfloat16 from 8 (CUDA C++ Programming Guide, "Tensor
Cores"); CPUs take bfloat16 by AVX512_BF16, AMX or Arm's BF16. Float16 is slow on any CPU: TensorFlow convolves in it
without oneDNN, and the gradients of a 3 x 3 convolution took 26 s against 0.07 s in float32 where the CPU has
AVX512_FP16.
"""

from collections.abc import Set
from pathlib import Path
from typing import Final

import tensorflow as tf

CPU_INFO: Final = Path("/proc/cpuinfo")
_BFLOAT16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_CAPABILITY: Final = {"mixed_float16": (7, 0), "mixed_bfloat16": (8, 0)}


def slowness(precision: str) -> str | None:
    """Why training in a recipe's ``precision`` is slow on this machine, and what to choose; ``None`` where it is not.

    ``None`` also where the machine does not tell what it can do.
    """
    if precision == "float32":
        return None
    if capabilities := gpu_capabilities():
        needed = _CAPABILITY[precision]
        lacking = {name: has for name, has in capabilities.items() if has is not None and has < needed}
        if not lacking:
            return None
        shown = ", ".join(f"{name} has {major}.{minor}" for name, (major, minor) in lacking.items())
        where = f"a GPU of compute capability below {needed[0]}.{needed[1]} ({shown})"
        float16 = precision == "mixed_bfloat16" and all(has >= _CAPABILITY["mixed_float16"] for has in lacking.values())
        instead = "mixed_float16" if float16 else "float32"
    else:
        flags = cpu_flags()
        has_bfloat16 = flags is not None and bool(flags & _BFLOAT16_FLAGS)
        if precision == "mixed_bfloat16" and (flags is None or has_bfloat16):
            return None
        lacking_bfloat16 = "this CPU, which has no instructions for it (AVX512_BF16, AMX, Arm's BF16)"
        where = "any CPU" if precision == "mixed_float16" else lacking_bfloat16
        instead = "mixed_bfloat16" if has_bfloat16 else "float32"
    return f"{precision} is slow on {where}: the result is right, but --set precision={instead} makes a new run faster"


def gpu_capabilities() -> dict[str, tuple[int, int] | None]:
    """Compute capability of every GPU that TensorFlow sees, ``None`` where it tells none."""
    details = {
        gpu.name: tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")
    }
    return {name: told.get("compute_capability") for name, told in details.items()}


def cpu_flags() -> Set[str] | None:
    """What Linux says that the first CPU can do; ``None`` where it, or another system, says nothing."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    told = (line.partition(":") for line in lines)
    return next((frozenset(v.split()) for name, _, v in told if name.strip() in ("flags", "Features")), None)
