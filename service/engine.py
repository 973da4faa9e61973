"""One ONNX Runtime session on CPU, CUDA or TensorRT; the only module that knows ONNX Runtime."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self, runtime_checkable

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from contract.bundle import Bundle, BundleCorruptError
from contract.decision import calibrated_probabilities
from contract.manifest import IMAGE_SIDE, Manifest, ModelFile, Precision
from service.bound_batches import BoundBatches
from service.settings import Device, Settings, available_cores
from service.tuning import Tuning, tune

logger = logging.getLogger("hal.engine")

_PROVIDERS: Final = {
    Device.CPU: "CPUExecutionProvider",
    Device.CUDA: "CUDAExecutionProvider",
    Device.TENSORRT: "TensorrtExecutionProvider",
}
_OUT_OF_MEMORY: Final = ("failed to allocate memory", "bad_alloc", "out of memory", "out_of_memory", "alloc_failed")
"""What ONNX Runtime, CUDA, cuBLAS and cuDNN say; there is no type for it (onnxruntime #16307)."""
_ORT_TYPES: Final = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}


class EngineError(Exception):
    """The network cannot be run as asked; the message says what was wrong, what was expected and what to do."""


class DeviceUnavailableError(EngineError):
    """The device that was asked for is not there. There is no fallback: 45 ms an image is not 1 ms an image."""


class GraphMismatchError(EngineError):
    """The graph's inputs or outputs are not the ones that the manifest describes."""


class GoldenMismatchError(EngineError):
    """The network does not reproduce the golden sample, so its answers on this machine cannot be trusted."""


class DeviceMemoryError(EngineError, MemoryError):
    """The device has no memory for a batch of this size; a smaller one may still succeed."""


class Engine(Protocol):
    """What the batcher needs of a network; called from one thread only."""

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits ``[n, 20]`` of images ``[n, 256, 256, 3]``."""
        ...


@runtime_checkable
class EmbeddingEngine(Engine, Protocol):
    """An engine that can give the embedding too."""

    def run_with_embedding(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits ``[n, 20]`` and embeddings ``[n, 2048]`` of images ``[n, 256, 256, 3]``."""
        ...


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to open an engine.

    Attributes:
        device: what to run on.
        precision: which file of the bundle, ``None`` for its first.
        max_batch: largest ``n`` that :meth:`OnnxEngine.run` will be given.
        latency_target_ms: within which an image should be answered at full load; ``None``: batches are not measured.
        threads: threads of the network on the CPU, 0 for one per core.
        tensorrt_cache: folder for TensorRT's engines, or ``None``.
        cuda_graphs: whether CUDA replays each batch size as one recorded launch.
    """

    device: Device = Device.CPU
    precision: Precision | None = None
    max_batch: int = 16
    latency_target_ms: int | None = None
    threads: int = 0
    tensorrt_cache: Path | None = None
    cuda_graphs: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The part of the settings that concerns the engine."""
        return cls(
            device=settings.device,
            precision=settings.precision,
            max_batch=settings.max_batch,
            latency_target_ms=settings.latency_target_ms,
            threads=settings.engine_threads,
            tensorrt_cache=settings.tensorrt_cache,
            cuda_graphs=settings.cuda_graphs,
        )


@dataclass(frozen=True, slots=True)
class Buckets:
    """Batch sizes that a device is given; without any, every size is given as it is.

    cuDNN 9 plans its convolutions again whenever the batch size changes (onnxruntime #23006: 30 ms become 500 ms),
    so on a GPU batches are padded to few sizes. On a CPU a batch of 1 is as fast per image as one of 16.
    """

    sizes: tuple[int, ...] = ()

    @classmethod
    def powers_of_two(cls, max_batch: int) -> Self:
        """1, 2, 4, ... and ``max_batch`` itself."""
        return cls((*(1 << power for power in range((max_batch - 1).bit_length())), max_batch))

    def size_for(self, count: int) -> int:
        """The smallest size that holds ``count`` images; ``count`` itself where none does."""
        return min((size for size in self.sizes if size >= count), default=count)


class OnnxEngine:
    """A verified network on one device: it has reproduced the golden sample and seen every batch size.

    Attributes:
        device: what it runs on.
        file: the file of the bundle that runs.
        tuning: what was measured and chosen when it was opened; ``None`` if nothing was.
    """

    def __init__(
        self,
        session: Any,
        device: Device,
        buckets: Buckets,
        max_batch: int,
        file: ModelFile,
        bound: BoundBatches | None = None,
    ) -> None:
        self._session = session
        self._bound = bound
        self._buckets = buckets
        self._max_batch = max_batch
        self.device = device
        self.file = file
        self.tuning: Tuning | None = None

    @classmethod
    def open(cls, bundle: Bundle, options: EngineOptions) -> Self:
        """Load a file of the bundle, verify it and warm it up; takes seconds, with TensorRT minutes.

        Raises:
            BundleError: the bundle has no file of that precision, or the file was changed since it was verified.
            DeviceUnavailableError, GraphMismatchError, GoldenMismatchError: see there.
        """
        file = bundle.file(options.precision)
        graph = bundle.path(file).read_bytes()
        if (found := hashlib.sha256(graph).hexdigest()) != file.sha256:
            raise BundleCorruptError(bundle.root, [f"{file.path} has SHA-256 {found}, expected {file.sha256}"])
        session, device = _session(graph, file, options)
        check_signature(session, bundle.manifest)
        on_gpu = device is not Device.CPU
        if on_gpu and file.precision == "int8":
            logger.warning("int8 on %s: most of the graph may stay on the CPU; prefer float16 or float32", device)
        buckets = Buckets.powers_of_two(options.max_batch) if on_gpu else Buckets()
        bound = None
        if on_gpu:
            graphs = options.cuda_graphs and device is Device.CUDA
            bound = BoundBatches(session, buckets.sizes, "cuda", graphs=graphs)
        engine = cls(session, device, buckets, options.max_batch, file, bound)
        engine.warm_up()
        engine.check_golden(bundle)
        if options.latency_target_ms is not None:
            sizes = Buckets.powers_of_two(options.max_batch).sizes
            engine.tuning = tune(engine.run, sizes, options.latency_target_ms)
            logger.info("%s", engine.tuning)
        return engine

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits ``[n, 20]`` of images ``[n, 256, 256, 3]``, ``n`` from 1 to ``max_batch``.

        Raises:
            DeviceMemoryError: there is no memory for so many images; the session stays usable.
            Exception: whatever else ONNX Runtime raises; the session stays usable.
        """
        (logits,) = self._outputs(["logits"], images)
        return logits

    def run_with_embedding(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits and embeddings ``[n, 2048]``; otherwise as :meth:`run`."""
        logits, embedding = self._outputs(["logits", "embedding"], images)
        return logits, embedding

    def _outputs(self, names: Sequence[str], images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        count = len(images)
        size = self._buckets.size_for(count)
        try:
            if self._bound is not None:
                return self._bound.run(names, images, size)
            if padding := size - count:
                images = np.concatenate([images, np.zeros((padding, *images.shape[1:]), np.uint8)])
            outputs = self._session.run(names, {"image": images})
        except Exception as error:
            if any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
                raise DeviceMemoryError(f"{self.device} has no memory for a batch of {size}") from error
            raise
        return [np.asarray(output[:count]) for output in outputs]

    def warm_up(self) -> None:
        """Run every batch size once, so that no request pays for a first time."""
        for size in self._buckets.sizes or {1, self._max_batch}:
            self.run(np.zeros((size, IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8))

    def check_golden(self, bundle: Bundle) -> None:
        """Compare calibrated probabilities of the golden sample with the bundle's.

        Raises:
            GoldenMismatchError: one differs by more than the file's tolerance.
        """
        golden = bundle.golden()
        images, expected = golden["images"], golden[f"logits_{self.file.precision}"]
        starts = range(0, len(images), self._max_batch)
        logits = np.concatenate([self.run(images[start : start + self._max_batch]) for start in starts])
        manifest = bundle.manifest
        temperature, suppressed = manifest.calibration.temperature, manifest.suppressed
        try:
            difference = np.abs(
                calibrated_probabilities(logits, temperature, suppressed)
                - calibrated_probabilities(expected, temperature, suppressed)
            ).max()
        except ValueError as error:
            raise GoldenMismatchError(f"{self.file.path} on {self.device}: {error}") from error
        if difference > self.file.golden_tolerance:
            raise GoldenMismatchError(
                f"{self.file.path} on {self.device} differs from the golden sample by {difference:.4f} in a "
                f"probability, at most {self.file.golden_tolerance} is allowed; it does not serve. Try HAL_DEVICE=cpu "
                "or another HAL_PRECISION, and report the device and driver with this message."
            )


def check_signature(session: Any, manifest: Manifest) -> None:
    """Compare a session's inputs and outputs with the manifest's; a dimension without a fixed size agrees with any.

    Raises:
        GraphMismatchError: every disagreement is listed.
    """
    spec = manifest.input
    problems = _disagreements("input", session.get_inputs(), spec.name, spec.dtype, spec.shape)
    for output in manifest.outputs:
        problems += _disagreements("output", session.get_outputs(), output.name, "float32", (output.size,))
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


def _session(graph: bytes, file: ModelFile, options: EngineOptions) -> tuple[Any, Device]:
    if options.device is not Device.AUTO:
        return _session_on(options.device, graph, file, options), options.device
    if _PROVIDERS[Device.CUDA] in ort.get_available_providers():
        try:
            return _session_on(Device.CUDA, graph, file, options), Device.CUDA
        except DeviceUnavailableError as error:
            logger.warning("HAL_DEVICE=auto serves on the CPU: %s", error)
    return _session_on(Device.CPU, graph, file, options), Device.CPU


def _session_on(device: Device, graph: bytes, file: ModelFile, options: EngineOptions) -> Any:
    provider, available = _PROVIDERS[device], ort.get_available_providers()
    if provider not in available:
        raise DeviceUnavailableError(
            f"HAL_DEVICE={device} was asked for, but this ONNX Runtime has only {', '.join(available)}. Install the "
            "extra service-gpu instead of service (never both), or set HAL_DEVICE=cpu."
        )
    if device is not Device.CPU and hasattr(ort, "preload_dlls"):
        ort.preload_dlls(directory="")
    try:
        # enable_fallback=0: otherwise a failing GPU is replaced by the CPU, when opening and even while serving.
        session = ort.InferenceSession(
            graph, _session_options(device, options), providers=_providers(device, file, options), enable_fallback=0
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


def _session_options(device: Device, options: EngineOptions) -> Any:
    session = ort.SessionOptions()
    session.intra_op_num_threads = 1 if device is not Device.CPU else options.threads or available_cores()
    session.inter_op_num_threads = 1
    session.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session.log_severity_level = 3
    return session


def _providers(device: Device, file: ModelFile, options: EngineOptions) -> list[tuple[str, dict[str, str]]]:
    cpu: tuple[str, dict[str, str]] = (_PROVIDERS[Device.CPU], {})
    # float32 means float32: TF32 would move probabilities away from the bundle's parity figures.
    cuda = (
        _PROVIDERS[Device.CUDA],
        {
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
            "use_tf32": "0",
            "enable_cuda_graph": str(int(options.cuda_graphs and device is Device.CUDA)),
        },
    )
    if device is Device.CPU:
        return [cpu]
    if device is Device.CUDA:
        return [cuda, cpu]
    image = "x".join(str(side) for side in (IMAGE_SIDE, IMAGE_SIDE, 3))
    tensorrt = {
        "trt_profile_min_shapes": f"image:1x{image}",
        "trt_profile_opt_shapes": f"image:{options.max_batch}x{image}",
        "trt_profile_max_shapes": f"image:{options.max_batch}x{image}",
        "trt_fp16_enable": str(file.precision == "float16"),
    }
    if options.tensorrt_cache is not None:
        folder = str(options.tensorrt_cache)
        tensorrt |= {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": folder,
        }
    return [(_PROVIDERS[Device.TENSORRT], tensorrt), cuda, cpu]
