"""The SHA-256 of every image: what an image is, whatever it is called and wherever it lies."""

from collections.abc import Callable, Iterable
from pathlib import Path

from contract.bundle import sha256_of
from training.progress import track


def content_hashes(paths: Iterable[Path]) -> Callable[[Path], str]:
    """Read each file once, with a progress bar, and look the hashes up from then on.

    Returns:
        Path to SHA-256 in hexadecimal digits, for the given paths only.
    """
    unique = list(dict.fromkeys(paths))
    hashes: dict[Path, str] = {}
    with track("hashing", len(unique)) as advance:
        for path in unique:
            hashes[path] = sha256_of(path)
            advance(1)
    return hashes.__getitem__
