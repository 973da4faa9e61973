"""Where things lie in the checkout."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
CELLS: Final = ROOT / "service" / "static" / "cells"
"""Sample cells with attribution; the page shows them as reference cells."""
