"""Two versions of a bundle on one shelf, to be exchanged while one of them is served."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from tests.service.live_server import LiveServer, serving
from tests.service.tiny_bundle import TinyNetwork


class Shelf:
    """Two versions of a bundle, of which one is served through a link; each tells the others' cells apart."""

    def __init__(self, root: Path, write_bundle: Callable[..., Bundle], network: TinyNetwork) -> None:
        self.link = root / "current"
        self.networks = {"1.0.0": network, "2.0.0": TinyNetwork(network.colours[::-1].copy())}
        self.bundles = {
            version: write_bundle(root / version, version=version, network=network)
            for version, network in self.networks.items()
        }
        self.put("1.0.0")

    def put(self, version: str) -> None:
        """Let the link lead to a version, atomically."""
        fresh = self.link.with_name("fresh")
        fresh.symlink_to(self.link.parent / version)
        fresh.rename(self.link)

    @contextmanager
    def serving(self, **options: Any) -> Iterator[LiveServer]:
        with serving(Bundle(self.link, self.bundles["1.0.0"].description), **options) as live:
            yield live

    def agrees(self, answer: dict[str, Any], cell: int) -> bool:
        """Whether every result is what the model that the answer names makes of a cell of the first network."""
        version = answer["model"]["version"]
        assert answer["model"]["sha256"] == self.bundles[version].file().sha256
        expected = CLASS_NAMES[cell if version == "1.0.0" else len(CLASS_NAMES) - 1 - cell]
        return {result["class_name"] for result in answer["results"]} == {expected}
