"""How commands of the training half end."""

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from training.errors import explained


def test_sigterm_leaves_nothing_half_written_behind(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), explained(), tempfile.TemporaryDirectory(dir=tmp_path):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    assert not [*tmp_path.iterdir()]
    assert signal.getsignal(signal.SIGTERM) is before
