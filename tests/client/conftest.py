import pytest

from tests.client.ways import Ways
from tests.service.tiny_bundle import TinyNetwork, encoded


@pytest.fixture(params=["sync", "async"])
def ways(request: pytest.FixtureRequest) -> Ways:
    return Ways(request.param)


@pytest.fixture(scope="module")
def cells(network: TinyNetwork) -> list[bytes]:
    return [encoded(network.cell(index)) for index in range(20)]
