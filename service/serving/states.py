"""What the service is doing, and why it therefore does not do what it was asked for."""

from enum import StrEnum
from typing import Final

from service.batching.errors import DrainingError
from service.errors import ServiceError


class State(StrEnum):
    """What the service is doing."""

    STARTING = "starting"
    READY = "ready"
    STALLED = "stalled"
    DRAINING = "draining"
    FAILED = "failed"


_EXPLANATIONS: Final = {
    State.STARTING: "The model is being loaded, verified and warmed up; try again in a few seconds.",
    State.STALLED: "The network has made no progress for HAL_STALL_S seconds; the service has to be restarted.",
    State.DRAINING: str(DrainingError()),
    State.FAILED: "The model could not be loaded and the service is stopping; see its log.",
}


class BundleRefusedError(ServiceError):
    """A bundle cannot take over; the message says everything that is wrong with it, and the old one serves on."""

    status, code = 409, "bundle_refused"


class NotReadyError(ServiceError):
    """The service cannot classify now; ``code`` is its state."""

    status = 503

    def __init__(self, state: State) -> None:
        self.code = state
        super().__init__(_EXPLANATIONS[state])
