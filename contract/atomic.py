"""Files that are there as a whole or not at all: see :mod:`contract.files`."""

from contract.files import UNFINISHED, replacing, write_text

__all__ = ["UNFINISHED", "replacing", "write_text"]
