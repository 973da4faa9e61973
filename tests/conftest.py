"""What holds for every test, and what tests of several folders read."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before the service's tests take all variables of HAL's out of the environment.
SHARED = os.environ.get("HAL_SHARED")

# On a machine that does other things too, an example takes a hundred times as long as it needs now and then.
settings.register_profile("hal", deadline=None)
settings.load_profile("hal")


@pytest.fixture(scope="session")
def open_sources() -> list[str]:
    """The image collections under HAL_SHARED that the shipped bundle was made of."""
    if not SHARED:
        pytest.skip("HAL_SHARED is not set: the real images are not at hand")
    root = Path(SHARED) / "data" / "real" / "images"
    return [f"pbc={root / 'pbc_barcelona'}", f"matek-marrow={root / 'bm_cytomorphology_mll'}"]


@pytest.fixture(scope="session")
def open_images(open_sources: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their manifest, split as for the shipped bundle; its 300 platelets are measured once."""
    from training.data.prepare import prepare

    path = tmp_path_factory.mktemp("open") / "open.csv"
    prepare(open_sources, path, 0.2, 2022, test_share=0.15)
    return path
