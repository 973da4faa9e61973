"""What holds for every test, and what tests of several folders use."""

import functools
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before anything imports ONNX Runtime; the commands that tests start inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    # Three test processes share the cores; twice as many threads as cores would only wait for each other.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, "1")

import onnxruntime
import pytest
from hypothesis import settings

from contract.bundle import Bundle
from tests.client.faulty_road import FaultyRoad
from tests.paths import ROOT
from tests.service.live_server import LiveServer, serving
from tests.service.tiny_bundle import TinyNetwork, write_tiny

SHARED = os.environ.get("HAL_SHARED")
"""Read before the fixture below takes all variables of HAL's out of the environment."""

# On a machine that does other things too, an example takes a hundred times as long as it needs now and then.
settings.register_profile("hal", deadline=None)
settings.load_profile("hal")

WriteBundle = Callable[..., Bundle]

_FIRST = (
    "docs/test_train.py",
    "service/jobs/score/test_score_command.py",
    "e2e",
    "training/fit",
    "training/composites/test_make.py",
    "training",
    "bench",
    "test_nothing_leaves.py",
    "docs",
    "contract",
    "service",
)
"""Where to begin: the longest files, so that the three workers end at the same time."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without a test to run alone: to import them all, TensorFlow included, takes longer than these."""
    if config.option.markexpr == "serial" and collection_path.name.startswith("test_"):
        return "pytest.mark.serial" not in collection_path.read_text(encoding="utf-8") or None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(ROOT / "tests").as_posix()
        return next((place for place, begin in enumerate(_FIRST) if path.startswith(begin)), len(_FIRST))

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name.startswith("HAL_") or name == "PORT":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _networks_have_one_thread() -> Iterator[None]:
    """Those of ONNX Runtime, whose threads spin while they wait for cores that other test processes have."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    opened = onnxruntime.InferenceSession

    def with_one_thread(model: Any, sess_options: Any = None, *rest: Any, **named: Any) -> Any:
        if sess_options is None:
            sess_options = onnxruntime.SessionOptions()
            sess_options.intra_op_num_threads = 1
        return opened(model, sess_options, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxruntime, "InferenceSession", with_one_thread)
        yield


@pytest.fixture(scope="session", autouse=True)
def _files_need_not_survive_a_power_cut() -> Iterator[None]:
    """A file that is flushed to the disk takes as long as an epoch of the small network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _certificates_are_read_once() -> Iterator[None]:
    """Each client of HTTP reads those of all authorities, in 30 ms: a hundred times what it then asks for takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session")
def network() -> TinyNetwork:
    return TinyNetwork()


@pytest.fixture(scope="session")
def write_bundle(network: TinyNetwork) -> WriteBundle:
    def write(root: Path, **how: Any) -> Bundle:
        return write_tiny(root, **{"network": network} | how)

    return write


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, write_bundle: WriteBundle) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def live(bundle: Bundle) -> Iterator[LiveServer]:
    """A service as it is without settings, for all tests of a file that leave it as it is."""
    with serving(bundle) as server:
        yield server


@pytest.fixture
def road() -> Iterator[FaultyRoad]:
    """A proxy between a client and a service, which can fail."""
    with FaultyRoad() as road:
        yield road
