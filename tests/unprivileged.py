"""A process that may not read what its user may not, though root runs the tests."""

import ctypes
from typing import Final

_DROP_FROM_BOUNDING_SET: Final = 24
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2
"""Of prctl(2) and capabilities(7)."""


def heed_permissions() -> None:
    """For ``preexec_fn`` of :class:`subprocess.Popen`; does nothing to a user who has not these rights."""
    prctl = ctypes.CDLL(None).prctl
    for right in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
        prctl(_DROP_FROM_BOUNDING_SET, right, 0, 0, 0)
