from pathlib import Path

import pytest

from tests.contract.examples import Description, describe_in, description, lay_files


@pytest.fixture
def described(tmp_path: Path) -> Description:
    """The description of the valid bundle that lies in ``tmp_path``, as parsed JSON, free to be spoilt."""
    described = lay_files(tmp_path, description())
    describe_in(tmp_path, described)
    return described
