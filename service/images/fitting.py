"""Which sizes ``HAL_FIT`` lets pass to :func:`contract.pixels.fit`, and a refusal that says what would take the others.

Nothing is ever resampled, since size tells classes apart. ``crop`` takes the centre and refuses an image with a side
below 256, ``pad`` reflects the border and refuses one with a side above it: neither does the other's work.
"""

from contract.description import IMAGE_SIDE
from contract.pixels import SMALLEST_SIDE
from contract.refusals import ImageRefusedError, RefusalCode
from service.settings import Fit


def check_size(width: int, height: int, fit: Fit) -> None:
    """Find out whether an image can be fitted, by what its header says.

    Raises:
        ImageRefusedError: it has another size than ``fit`` takes; the message says what would take it.
    """
    side = IMAGE_SIDE
    sides = (width, height)
    shortest = min(sides)
    if fit is Fit.STRICT and sides != (side, side):
        problem = f"expected exactly {side}x{side}"
        if shortest >= side:
            remedy = "set HAL_FIT=crop for the centre of larger images"
        elif max(sides) <= side and shortest >= SMALLEST_SIDE:
            remedy = "set HAL_FIT=pad to reflect the border of smaller ones"
        else:
            remedy = "export a larger field around the cell"
    elif fit is Fit.CROP and shortest < side:
        problem, remedy = f"expected at least {side}x{side} to crop from", "export a larger field around the cell"
    elif fit is Fit.PAD and max(sides) > side:
        problem, remedy = f"expected at most {side}x{side} to pad", "set HAL_FIT=crop for larger images"
    elif fit is Fit.PAD and shortest < SMALLEST_SIDE:
        problem, remedy = (
            f"expected sides of at least {SMALLEST_SIDE} to reflect",
            "export a larger field around the cell",
        )
    else:
        return
    raise ImageRefusedError(
        RefusalCode.WRONG_SIZE,
        f"The image is {width}x{height} pixels, {problem}. It is not resampled, since that would change the cell's "
        f"size; {remedy}.",
    )
