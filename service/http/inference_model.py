"""What ``/v2`` says of the model: metadata, configuration and statistics.

Source: KServe's ``open_inference_rest.yaml``, Triton's ``extension_model_configuration.md`` and
``extension_statistics.md``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from service.http.open_inference import INPUT, OUTPUT_SIZES, SHAPE

PLATFORM: Final = "hal_onnxruntime"


def model_config(name: str, most_images: int) -> dict[str, Any]:
    """The answer to ``GET /v2/models/{name}/config``; ``most_images``: in a request."""
    return {
        "name": name,
        "platform": PLATFORM,
        "max_batch_size": most_images,
        "input": [{"name": INPUT, "data_type": "TYPE_UINT8", "format": "FORMAT_NHWC", "dims": list(SHAPE)}],
        "output": [{"name": output, "data_type": "TYPE_FP32", "dims": [size]} for output, size in OUTPUT_SIZES.items()],
        "dynamic_batching": {},
    }


def model_statistics(
    name: str, version: str, images: int, failed: int, batches: int, spent: Mapping[str, tuple[int, float]]
) -> dict[str, Any]:
    """The answer to ``GET /v2/models/{name}/stats``, in images as far as the protocol counts requests.

    Args:
        name: of the model.
        version: its version.
        images: answered by the network since the service started, by whatever path they came.
        failed: that the network failed on.
        batches: that the device finished.
        spent: images and seconds in ``decode``, ``queue`` and ``device``, where each spends the time of its batch.
    """
    queue_s, device_s = spent["queue"][1], spent["device"][1]
    parts = {
        "success": (images, queue_s + device_s),
        "fail": (failed, 0.0),
        "queue": spent["queue"],
        "compute_input": spent["decode"],
        "compute_infer": spent["device"],
        **dict.fromkeys(("compute_output", "cache_hit", "cache_miss"), (0, 0.0)),
    }
    return {
        "name": name,
        "version": version,
        "inference_count": images,
        "execution_count": batches,
        "inference_stats": {part: {"count": count, "ns": int(1e9 * s)} for part, (count, s) in parts.items()},
        "batch_stats": [],
    }


def model_metadata(name: str, versions: Sequence[str]) -> dict[str, Any]:
    return {
        "name": name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *SHAPE]}],
        "outputs": [{"name": output, "datatype": "FP32", "shape": [-1, size]} for output, size in OUTPUT_SIZES.items()],
    }
