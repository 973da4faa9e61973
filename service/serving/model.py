"""A model at work: a verified bundle and the engine that runs its network."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contract.bundle import Bundle
from service.batching.queue import Logits, Network
from service.engine.onnx import Engine, EngineOptions
from service.engine.thread import EngineThread
from service.engine.tuning import Tuning
from service.http.schemas import ModelStamp
from service.serving.answers import Writer
from service.settings import Device, Settings

logger = logging.getLogger("hal.served")


class PlacedEngine(Engine, Protocol):
    """An engine that says where it runs."""

    @property
    def device(self) -> Device:
        """The device in use, never ``auto``."""
        ...


class ServedNetwork(Network, Protocol):
    """A network that belongs to a model, in this process or reached from it; see :class:`EngineThread`."""

    watch: Callable[[Logits, NDArray[np.float32]], None] | None
    gives_embeddings: bool
    on_revised: Callable[[], None]

    @property
    def tuning(self) -> Tuning | None:
        """Why its batches are as large as they are, ``None`` if they are as large as the settings allow."""
        ...

    @property
    def with_embedding(self) -> Network:
        """The same network, giving embeddings too."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


OpenEngine = Callable[[Bundle, EngineOptions], PlacedEngine]


class ServedModel:
    """A model that answers until it is retired and nobody uses it any more; then its memory is given back.

    Attributes:
        bundle: where it came from.
        file: the file of the bundle that runs.
        device: what it runs on.
        network: gives its logits.
        stamp: names it in every answer that it makes.
        writer: writes those answers.
    """

    def __init__(self, bundle: Bundle, settings: Settings, device: Device, network: ServedNetwork) -> None:
        self.bundle = bundle
        self.file = bundle.file(settings.precision)
        self.device = device
        self.network = network
        self.stamp = ModelStamp.of(bundle, self.file)
        self.writer = Writer(self.stamp)
        self._users = 0
        self._retired = False

    @classmethod
    async def open(
        cls, network: EngineThread, read: Callable[[], Bundle], settings: Settings, open_engine: OpenEngine
    ) -> "ServedModel":
        """Read and verify a bundle, open its network and warm it up, all in the thread of ``network``.

        Raises:
            BundleError, EngineError: the bundle cannot be served.
            Exception: something else went wrong.
        """
        bundle: Bundle | None = None

        def make() -> PlacedEngine:
            nonlocal bundle
            bundle = read()
            return open_engine(bundle, EngineOptions.of(settings))

        engine = await network.open(make)
        assert bundle is not None  # noqa: S101 - make() has set it
        tuning: Tuning | None = getattr(engine, "tuning", None)
        if tuning is not None:
            network.begin_with(tuning)
        return cls(bundle, settings, engine.device, network)

    @property
    def tuning(self) -> Tuning | None:
        """Why its batches are as large as they are, ``None`` if they are as large as the settings allow."""
        return self.network.tuning

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
        """Close as soon as nobody uses it any more."""
        self._retired = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._retired and self._users == 0:
            self.network.close()
            logger.info("model %s %s was let go", self.stamp.name, self.stamp.version)


class Models:
    """The model that serves, the one that may be being opened, and those that finish what they began.

    Args:
        settings: the service's settings.
        open_engine: gives the network of a bundle.
    """

    def __init__(self, settings: Settings, open_engine: OpenEngine) -> None:
        self._settings = settings
        self._open_engine = open_engine
        self._current: ServedModel | None = None
        self._networks: list[EngineThread] = []

    @property
    def current(self) -> ServedModel:
        """The model that serves; there is one once :meth:`switch` was called."""
        assert self._current is not None  # noqa: S101
        return self._current

    async def open(self, read: Callable[[], Bundle]) -> ServedModel:
        """Open another model beside those that there are.

        Raises:
            Exception: see :meth:`ServedModel.open`.
        """
        network = EngineThread(self._settings.max_batch)
        self._networks = [*self._open(), network]
        try:
            return await ServedModel.open(network, read, self._settings, self._open_engine)
        except Exception:
            network.close()
            raise

    def switch(self, model: ServedModel) -> None:
        """Let ``model`` serve, and the one before it go."""
        before, self._current = self._current, model
        if before is not None:
            before.retire()

    async def until_free(self) -> None:
        """Wait for what all of them are doing."""
        for network in self._open():
            await network.until_free()

    def close(self) -> None:
        """Let go of all of them."""
        for network in self._networks:
            network.close()

    def _open(self) -> list[EngineThread]:
        return [network for network in self._networks if not network.closed]
