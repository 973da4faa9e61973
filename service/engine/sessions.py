"""Opening an ONNX Runtime session on the device that was asked for, and on no other."""

import logging
from collections.abc import Sequence
from typing import Any, Final

import onnxruntime as ort

from contract.bundle import Bundle
from contract.description import BundleDescription
from contract.parts import IMAGE_SIDE, ModelFile, Precision, in_order
from service.engine import cuda
from service.errors import UserError
from service.settings import Device, Settings, available_cores
from service.threads import require_threads

logger = logging.getLogger("hal.sessions")

_PROVIDERS: Final = {
    Device.CPU: "CPUExecutionProvider",
    Device.CUDA: "CUDAExecutionProvider",
    Device.TENSORRT: "TensorrtExecutionProvider",
}
_ORT_TYPES: Final = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}


class EngineError(UserError):
    """The network cannot be run as asked."""


class DeviceUnavailableError(EngineError):
    """The device that was asked for is not there. There is no fallback: 45 ms an image is not 1 ms an image."""


class GraphMismatchError(EngineError):
    """The graph's inputs or outputs are not the ones described in bundle.json."""


def check_signature(session: Any, description: BundleDescription) -> None:
    """Raise with every input and output that is not as described; a dimension without a fixed size agrees with any.

    Raises:
        GraphMismatchError: every disagreement is listed.
    """
    spec = description.input
    problems = _disagreements("input", session.get_inputs(), spec.name, spec.dtype, spec.shape)
    for output in description.outputs:
        problems += _disagreements("output", session.get_outputs(), output.name, "float32", (output.size,))
    described = {output.name for output in description.outputs}
    problems += [
        f"output {name!r} is not described"
        for name in in_order(output.name for output in session.get_outputs())
        if name not in described
    ]
    if len(session.get_inputs()) != 1:
        problems.append(f"{len(session.get_inputs())} inputs, expected 1")
    if problems:
        raise GraphMismatchError(
            "the graph is not the one that bundle.json describes: " + "; ".join(problems) + ". Export the bundle again."
        )


def _disagreements(role: str, found: Sequence[Any], name: str, dtype: str, shape: tuple[int, ...]) -> list[str]:
    value = next((value for value in found if value.name == name), None)
    if value is None:
        return [f"no {role} {name!r}, only {[other.name for other in found]}"]
    problems = []
    if value.type != _ORT_TYPES[dtype]:
        problems.append(f"{role} {name!r} is {value.type}, expected {_ORT_TYPES[dtype]}")
    batch, *rest = value.shape or [None, *shape]
    fixed = [(size, expected) for size, expected in zip(rest, shape, strict=False) if isinstance(size, int)]
    if isinstance(batch, int) or len(rest) != len(shape) or any(size != expected for size, expected in fixed):
        problems.append(f"{role} {name!r} has shape {value.shape}, expected {['n', *shape]} with any n")
    return problems


def resolved(device: Device, *, tell: bool = False) -> Device:
    """The device; for ``auto`` CUDA if ONNX Runtime has it and the driver sees a GPU, else the CPU.

    ``tell`` logs why an ONNX Runtime that has CUDA is not used with it.
    """
    if device is not Device.AUTO:
        return device
    if _PROVIDERS[Device.CUDA] not in ort.get_available_providers():
        return Device.CPU
    if fault := cuda.driver_fault():
        if tell:
            logger.warning("HAL_DEVICE=auto serves on the CPU: %s", fault)
        return Device.CPU
    return Device.CUDA


def served_file(bundle: Bundle, device: Device, precision: Precision | None) -> ModelFile:
    """The file of ``precision``; if that is ``None``, float16 on a GPU where the bundle has it, else its first.

    On a GPU, ONNX Runtime leaves most of an int8 graph to the CPU.

    Raises:
        BundleError: the bundle has no file of that precision.
    """
    on_gpu = resolved(device) is not Device.CPU
    if precision is None and on_gpu and "float16" in {file.precision for file in bundle.description.files}:
        precision = "float16"
    return bundle.file(precision)


def check_device(device: Device) -> None:
    """Raise if this ONNX Runtime does not know the device or the driver sees no GPU, before a bundle is read.

    Raises:
        DeviceUnavailableError: this ONNX Runtime does not know the device, or the driver sees no GPU.
    """
    if device is not Device.AUTO:
        _provider(device)
        if device is not Device.CPU and (fault := cuda.driver_fault()):
            raise _device_failed(device, fault)


def _provider(device: Device) -> str:
    provider, available = _PROVIDERS[device], ort.get_available_providers()
    if provider not in available:
        raise DeviceUnavailableError(
            f"HAL_DEVICE={device} was asked for, but this ONNX Runtime has only {', '.join(available)}. Install the "
            "extra service-gpu instead of service (never both), or set HAL_DEVICE=cpu."
        )
    return provider


def open_session(device: Device, graph: bytes, file: ModelFile, settings: Settings) -> Any:
    """A session of ``graph`` on ``device``, which is not ``auto``, and on no other; or an :class:`EngineError`."""
    provider, session_options = _provider(device), _session_options(device, settings)
    require_threads(session_options.intra_op_num_threads)
    if device is not Device.CPU and hasattr(ort, "preload_dlls"):
        ort.preload_dlls(directory="")
    try:
        # enable_fallback=0: otherwise a failing GPU is replaced by the CPU, when opening and even while serving.
        session = ort.InferenceSession(
            graph, session_options, providers=providers(device, file, settings), enable_fallback=0
        )
    except Exception as error:
        if device is Device.CPU:
            raise GraphMismatchError(
                f"ONNX Runtime {ort.__version__} cannot load {file.path}: {error}. Install a newer onnxruntime or "
                "export the bundle again."
            ) from error
        raise _device_failed(device, str(error)) from error
    if provider not in session.get_providers():
        raise _device_failed(device, f"the session fell back to {', '.join(session.get_providers())}")
    return session


def _device_failed(device: Device, reason: str) -> DeviceUnavailableError:
    return DeviceUnavailableError(
        f"HAL_DEVICE={device} was asked for and cannot be used: {reason}. Check nvidia-smi, the driver and that CUDA "
        "and cuDNN match this onnxruntime-gpu, or set HAL_DEVICE=cpu."
    )


def _session_options(device: Device, settings: Settings) -> Any:
    session = ort.SessionOptions()
    session.intra_op_num_threads = 1 if device is not Device.CPU else settings.engine_threads or available_cores()
    session.inter_op_num_threads = 1
    # Between two operators threads wait by spinning, which spares each of them a wake-up, and sleep as soon as a run is
    # over: an idle service costs nothing, and a busy one leaves the cores to decoding and HTTP between batches.
    session.add_session_config_entry("session.intra_op.allow_spinning", "1")
    session.add_session_config_entry("session.force_spinning_stop", "1")
    session.log_severity_level = 3
    return session


def providers(device: Device, file: ModelFile, settings: Settings) -> list[tuple[str, dict[str, str]]]:
    cpu: tuple[str, dict[str, str]] = (_PROVIDERS[Device.CPU], {})
    # float32 means float32: TF32 would move probabilities away from the bundle's parity figures.
    cuda = (
        _PROVIDERS[Device.CUDA],
        {
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
            "use_tf32": "0",
            "enable_cuda_graph": str(int(settings.cuda_graphs and device is Device.CUDA)),
        },
    )
    if device is Device.CPU:
        return [cpu]
    if device is Device.CUDA:
        return [cuda, cpu]
    image = "x".join(str(side) for side in (IMAGE_SIDE, IMAGE_SIDE, 3))
    tensorrt = {
        "trt_profile_min_shapes": f"image:1x{image}",
        "trt_profile_opt_shapes": f"image:{settings.batch_limit(device)}x{image}",
        "trt_profile_max_shapes": f"image:{settings.batch_limit(device)}x{image}",
        "trt_fp16_enable": str(file.precision == "float16"),
    }
    if settings.tensorrt_cache is not None:
        folder = str(settings.tensorrt_cache)
        tensorrt |= {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": folder,
        }
    return [(_PROVIDERS[Device.TENSORRT], tensorrt), cuda, cpu]
