"""NVIDIA's driver, of which this machine may have none: stand-ins answer as the CUDA driver API says."""

import ctypes
from dataclasses import dataclass
from typing import Any

import onnxruntime as ort
import pytest

from service.engine import cuda
from service.engine.sessions import DeviceUnavailableError, check_device
from service.settings import Device

GPU_PROVIDERS = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


@dataclass
class Driver:
    """A driver that sees so many GPUs, or whose start fails."""

    gpus: int = 0
    error: int = 0

    def cuInit(self, _: int) -> int:  # noqa: N802 - its name
        return self.error

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802 - its name
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int))[0] = self.gpus
        return 0


def absent(name: str) -> Any:
    raise OSError(name)


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (Driver(gpus=1), None),
        (Driver(gpus=0), "sees no GPU"),
        (Driver(error=100), "sees no GPU"),
        (Driver(gpus=1, error=803), "does not start (CUDA error 803)"),
    ],
)
def test_a_gpu_is_seen_or_the_reason_told(driver: Driver, expected: str | None) -> None:
    found = cuda.driver_fault(lambda _: driver)
    assert found is expected if expected is None else expected in str(found)


@pytest.mark.parametrize("device", [Device.CUDA, Device.TENSORRT])
def test_a_runtime_for_gpus_without_a_driver_is_refused_at_once(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: GPU_PROVIDERS)
    monkeypatch.setattr(cuda, "driver_fault", lambda: FAULT(absent))
    with pytest.raises(DeviceUnavailableError, match=f"HAL_DEVICE={device}.*driver is not here.*HAL_DEVICE=cpu"):
        check_device(device)


FAULT = cuda.driver_fault


@pytest.mark.parametrize("device", [Device.AUTO, Device.CPU])
def test_devices_that_are_always_there_need_no_driver(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "driver_fault", lambda: "not asked")
    check_device(device)
