from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from contract.bundle import Bundle
from tests.client.faulty_road import FaultyRoad
from tests.client.ways import Ways
from tests.service.conftest import _no_settings_from_outside, bundle, network, write_bundle  # noqa: F401
from tests.service.live_server import LiveServer, serving
from tests.service.tiny_bundle import TinyNetwork, encoded


@pytest.fixture
def road() -> Iterator[FaultyRoad]:
    with ExitStack() as stack:
        yield stack.enter_context(FaultyRoad())


@pytest.fixture(params=["sync", "async"])
def ways(request: pytest.FixtureRequest) -> Ways:
    return Ways(request.param)


@pytest.fixture(scope="module")
def live(bundle: Bundle) -> Iterator[LiveServer]:  # noqa: F811
    with serving(bundle) as server:
        yield server


@pytest.fixture(scope="module")
def cells(network: TinyNetwork) -> list[bytes]:  # noqa: F811
    return [encoded(network.cell(index)) for index in range(20)]
