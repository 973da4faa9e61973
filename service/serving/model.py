"""A model at work: a verified bundle and the engine that runs its network."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.classes import CLASS_COUNT
from contract.decision import Decision, decide
from contract.novelty import NoveltyBasis
from service.batching.queue import Image, Rows
from service.engine.onnx import Engine
from service.engine.sessions import served_file
from service.engine.thread import EngineThread
from service.serving.answers import HairyRule, ModelStamp
from service.settings import Device, Settings
from service.threads import NoThreadError

logger = logging.getLogger("hal.model")

_RETRY_S: Final = 0.5

OpenEngine: TypeAlias = Callable[[Bundle, Settings], Engine]
Reference: TypeAlias = dict[str, NDArray[Any]]
"""See :meth:`contract.bundle.Bundle.reference`."""
Judged: TypeAlias = tuple[Rows, Decision]
"""The row that the network gave for an image, and what the bundle says about it."""


class ServedModel:
    """A model that answers until it is retired and nobody uses it any more; then its memory is given back.

    It is the :class:`service.batching.queue.Network` that the batcher feeds: rows come from the engine, and what the
    bundle says about them is what each image gets. Drift is measured against ``reference``.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings,
        device: Device,
        network: EngineThread,
        basis: NoveltyBasis | None = None,
        reference: Reference | None = None,
    ) -> None:
        self.bundle = bundle
        self.file = served_file(bundle, settings.device, settings.precision)
        self.device = device
        self.network = network
        self.max_batch = network.max_batch
        self.stamp = ModelStamp.of(bundle, self.file)
        policy = bundle.description.policy
        self.hairy_rule = HairyRule(policy.hairy_threshold, policy.hairy_advice)
        self.reference = reference
        self._basis = basis
        self._users = 0
        self._retired = False

    async def run(self, images: Sequence[Image]) -> Rows:
        return await self.network.run(images)

    def results(self, rows: Rows) -> list[Judged | None]:
        """Decide by the bundle about the images of a batch; ``None`` where a row has a number that is not finite."""
        finite = np.logical_and.reduce(np.isfinite(rows), axis=1)
        if (sound := np.count_nonzero(finite)) < len(rows):
            judged = iter(self.results(rows[finite]) if sound else ())
            return [next(judged) if is_finite else None for is_finite in finite]
        novelty = None if self._basis is None else self._basis.scores(rows[:, CLASS_COUNT:])
        return list(zip(rows, decide(rows[:, :CLASS_COUNT], self.bundle.description, novelty), strict=True))

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """While a request is answered: the model stays open even if another takes over."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._close_if_done()

    def retire(self) -> None:
        self._retired = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._retired and self._users == 0:
            self.network.close()
            logger.info("model %s %s was let go", self.stamp.name, self.stamp.version)


class Models:
    """The model that serves, the one that may be being opened, and those that finish what they began."""

    def __init__(self, settings: Settings, open_engine: OpenEngine) -> None:
        self.current: ServedModel | None = None
        self._settings = settings
        self._open_engine = open_engine
        self._networks: list[EngineThread] = []

    async def open_first(self, bundle: Bundle, start_threads: Callable[[], None]) -> ServedModel:
        """Start all threads and open the bundle; where there are too few threads, as soon as there are enough.

        Raises:
            Exception: otherwise as :meth:`open`.
        """
        told = False
        while True:
            try:
                start_threads()
                return await self.open(lambda: bundle)
            except NoThreadError as error:
                if not told:
                    logger.error("not ready: %s", error)
                told = True
                await asyncio.sleep(_RETRY_S)

    async def open(self, read: Callable[[], Bundle]) -> ServedModel:
        """Read and verify a bundle, open its network and warm it up, beside the models that there are.

        Raises:
            BundleError, EngineError: the bundle cannot be served.
            NoThreadError: the system gives no thread for it.
        """
        network = EngineThread()
        self._networks = [*self._open(), network]
        found: list[tuple[Bundle, NoveltyBasis | None, Reference | None]] = []

        def make() -> Engine:
            bundle = read()
            found.append((bundle, bundle.novelty(), bundle.reference() if self._settings.drift else None))
            return self._open_engine(bundle, self._settings)

        try:
            engine = await network.open(make)
        except Exception:
            network.close()
            raise
        network.max_batch = self._settings.batch_limit(engine.device)
        bundle, basis, reference = found[0]
        return ServedModel(bundle, self._settings, engine.device, network, basis, reference)

    def switch(self, model: ServedModel) -> None:
        before, self.current = self.current, model
        if before is not None:
            before.retire()

    async def until_free(self) -> None:
        for network in self._open():
            await network.until_free()

    def close(self) -> None:
        for network in self._networks:
            network.close()

    def _open(self) -> list[EngineThread]:
        return [network for network in self._networks if not network.closed]
