"""Cells that the tests of the page show to the tiny network."""

from collections.abc import Callable

from contract.classes import BY_SLUG

LYMPHOCYTE, ERYTHROBLAST = BY_SLUG["lymphocyte"].index, BY_SLUG["erythroblast"].index
Image = Callable[[int, int], bytes]
