from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.client.faulty_road import FaultyRoad
from tests.service.conftest import _no_settings_from_outside, bundle, network, write_bundle  # noqa: F401


@pytest.fixture
def road() -> Iterator[FaultyRoad]:
    with ExitStack() as stack:
        yield stack.enter_context(FaultyRoad())
