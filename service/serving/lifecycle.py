"""A bundle at work from its opening to its end: starting, ready, reloading, draining, stalled or failed."""

import asyncio
import logging
from typing import Final

from contract.bundle import Bundle, BundleError, load
from contract.parts import ModelFile
from service.batching.batcher import Batcher
from service.batching.rate import Statistics
from service.engine.onnx import OnnxEngine
from service.engine.sessions import served_file
from service.engine.thread import WorkThreads
from service.errors import RequestError, UserError
from service.serving.answers import ModelStamp, ReloadAnswer
from service.serving.model import Models, OpenEngine, ServedModel
from service.serving.observer import Observer
from service.serving.states import BundleRefusedError, NotReadyError, State
from service.settings import Device, Settings

logger = logging.getLogger("hal.lifecycle")

_ASIDE: Final = 4
"""Threads for what takes milliseconds and is not worth a pool of its own."""


def last_wait_s(settings: Settings) -> float:
    """The end of HAL_DRAIN_S: for requests that were cut off to leave, and for the last batch to end."""
    return min(1.0, settings.drain_s / 5)


class Lifecycle:
    """A bundle at work.

    Attributes:
        device, batcher: ``None`` until the network is opened.
        aside: threads for work that would hold up the event loop.
        failure: why the network could not be opened, or ``None``.
        abandoned: at the end, whether an engine's thread was left at work.
    """

    def __init__(self, settings: Settings, bundle: Bundle, *, open_engine: OpenEngine = OnnxEngine.open) -> None:
        self.settings = settings
        self.bundle = bundle
        self.file: ModelFile = served_file(bundle, settings.device, settings.precision)
        self.device: Device | None = None
        self.observer = Observer(settings)
        self.statistics = Statistics()
        self.batcher: Batcher | None = None
        self.aside = WorkThreads("hal-aside", _ASIDE)
        self.failure: Exception | None = None
        self.abandoned = False
        self.reloads = 0
        self.reloads_refused = 0
        self._models = Models(settings, open_engine)
        self._state = State.STARTING
        self._turns_away = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._one_reload = asyncio.Lock()
        self._reloading: asyncio.Task[None] | None = None
        metrics = self.observer.metrics
        metrics.state.read = lambda: {each: each is self.state for each in State}
        metrics.reloads.read = lambda: {"done": self.reloads, "refused": self.reloads_refused}

    async def open(self) -> None:
        """Load, verify and warm up the network; afterwards the state is ready, or failed with ``failure`` set."""
        self._loop = asyncio.get_running_loop()
        try:
            model = await self._models.open_first(self.bundle, self.start_threads)
        except Exception as error:
            self.failure = error
            self._state = State.FAILED
            return
        self._let_serve(model)
        self.batcher = Batcher(
            model,
            queue_limit=self.settings.queue_limit,
            bulk_limit=self.settings.bulk_limit,
            deadline_s=self.settings.deadline_ms / 1000,
            statistics=self.statistics,
            on_batch=self.observer.ran,
        )
        self.observer.watch_batcher(self.batcher)
        if self._state is State.STARTING:
            self._state = State.READY
            logger.info("ready on %s, batches of at most %d images", self.device, model.network.max_batch)

    def start_threads(self) -> None:
        """Start what answers will need, so that no request is the first to find that there is no thread.

        Raises:
            NoThreadError: the system gives no more; to be called again.
        """
        self.aside.start()

    async def reload(self) -> ReloadAnswer:
        """Read HAL_BUNDLE again, following links, and let what is there take over once it is verified and warm.

        Requests that were accepted before are finished by the model that they began with; then its memory is free.

        Raises:
            ServiceError: there is nothing to take over from, the service stops, or another reload has not ended.
            BundleRefusedError: the bundle cannot be served; the old one stays.
        """
        if self._one_reload.locked():
            message = "A bundle is being opened already; ask again when that is done."
            raise RequestError(409, "reload_under_way", message)
        async with self._one_reload:
            return await self._reload()

    async def _reload(self) -> ReloadAnswer:
        self._ready_batcher()
        path = self.settings.bundle
        try:
            model = await self._models.open(lambda: load(path.resolve()))
        except Exception as error:
            self.reloads_refused += 1
            known = isinstance(error, BundleError | UserError)
            logger.error("%s is refused, the old bundle stays: %s", path, error, exc_info=not known)
            reason = error if known else "it cannot be opened; the service's log says why"
            raise BundleRefusedError(f"The bundle is refused and the old one stays: {reason}") from error
        return self._take_over(model)

    def request_reload(self) -> None:
        """:meth:`reload` as soon as possible, its outcome in the log. Safe to call in a signal handler."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin_reload)

    def _begin_reload(self) -> None:
        if self._reloading is None:
            self._reloading = asyncio.create_task(self._reload_in_turn(), name="hal-reload")

    async def _reload_in_turn(self) -> None:
        async with self._one_reload:
            # From here on another signal means another reload: what is read now may be older than its reason.
            self._reloading = None
            try:
                await self._reload()
            except NotReadyError as error:
                logger.warning("not reloaded: %s", error)
            except BundleRefusedError:
                pass

    def _take_over(self, model: ServedModel) -> ReloadAnswer:
        try:
            batcher = self._ready_batcher()
        except NotReadyError:
            model.retire()
            raise
        before = self.stamp
        self._let_serve(model)
        batcher.network = model
        self.reloads += 1
        logger.info("%s %s (%s) serves now", model.stamp.name, model.stamp.version, model.stamp.sha256)
        return ReloadAnswer(before, model.stamp)

    def _ready_batcher(self) -> Batcher:
        state = self.state
        if state is not State.READY or self.batcher is None:
            raise NotReadyError(state)
        return self.batcher

    def _let_serve(self, model: ServedModel) -> None:
        self._models.switch(model)
        self.bundle, self.file, self.device = model.bundle, model.file, model.device
        self.observer.serves(model)

    @property
    def stamp(self) -> ModelStamp:
        return ModelStamp.of(self.bundle, self.file)

    @property
    def max_batch(self) -> int | None:
        """Most images in a batch; ``None`` until the network is opened."""
        return None if self.batcher is None else self.batcher.network.max_batch

    @property
    def state(self) -> State:
        return State.STALLED if self._state is State.READY and self.stalled else self._state

    @property
    def draining(self) -> bool:
        return self._state is State.DRAINING

    @property
    def stalled(self) -> bool:
        """Whether nothing is answered any more, though the process lives: only a restart helps."""
        batcher = self.batcher
        return batcher is not None and (batcher.broken or batcher.busy_s > self.settings.stall_s)

    def require_ready(self) -> None:
        """Raise :class:`NotReadyError` or :class:`AuditFullError` if images should not be sent here."""
        self._ready_batcher()
        self.observer.check_room()

    def begin_drain(self, *, turn_away: bool = True) -> None:
        """Say that the service is not ready; and, unless told otherwise, accept no more requests.

        Those under way are finished. Safe to call in a signal handler.
        """
        if self._state is not State.FAILED:
            self._state = State.DRAINING
        self._turns_away |= turn_away

    async def close(self) -> None:
        """Finish what was accepted and stop; what then still runs after :func:`last_wait_s` is given up."""
        self.begin_drain()
        try:
            async with asyncio.timeout(last_wait_s(self.settings)):
                if self.batcher is not None:
                    await self.batcher.drain()
                await self._models.until_free()
        except TimeoutError:
            self.abandoned = True
            logger.error("the engine is still at work and is given up")
        self._models.close()
        if self.aside.started:
            await self.aside.call(self.observer.close)
        else:
            self.observer.close()
        self.aside.close()
