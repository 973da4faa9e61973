"""A model at work: a verified bundle and the engine that runs its network."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Protocol

from contract.bundle import Bundle
from service.engine import Engine, EngineOptions
from service.engine_thread import EngineThread
from service.schemas import ModelStamp
from service.settings import Device, Settings

logger = logging.getLogger("hal.served")


class PlacedEngine(Engine, Protocol):
    """An engine that says where it runs."""

    @property
    def device(self) -> Device:
        """The device in use, never ``auto``."""
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
    """

    def __init__(self, bundle: Bundle, settings: Settings, device: Device, network: EngineThread) -> None:
        self.bundle = bundle
        self.file = bundle.file(settings.precision)
        self.device = device
        self.network = network
        self.stamp = ModelStamp.of(bundle, self.file)
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
        return cls(bundle, settings, engine.device, network)

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
