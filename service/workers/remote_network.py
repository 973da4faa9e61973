"""The network as an HTTP worker has it: a number that stands for one in the engine process."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from service.batching.queue import Image, Logits
from service.engine.tuning import Tuning


class RemoteNetwork:
    """A network in the engine process.

    Attributes:
        number: of its model.
        max_batch: most images in a batch.
        tuning: why.
        embedding: whether its rows are logits and embedding.
        on_revised: not called here: the engine process says when ``tuning`` is another.
    """

    gives_embeddings = False
    """Not here: the engine process compares them with the bundle's."""

    def __init__(self, number: int, max_batch: int, tuning: Tuning | None, *, embedding: bool = False) -> None:
        self.number = number
        self.max_batch = max_batch
        self.tuning = tuning
        self.embedding = embedding
        self.watch: Callable[[Logits, NDArray[np.float32]], None] | None = None
        self.on_revised: Callable[[], None] = lambda: None

    @property
    def with_embedding(self) -> "RemoteNetwork":
        """The same network, giving embeddings too."""
        return RemoteNetwork(self.number, self.max_batch, self.tuning, embedding=True)

    async def run(self, images: Sequence[Image]) -> Logits:
        """Only the engine process runs it: images go there by :meth:`service.workers.intake.RemoteIntake.infer`."""
        raise RuntimeError(f"{len(images)} images were to be run in a process without the network")

    def close(self) -> None:
        """It is closed where it is."""
