"""What the service is doing, and why it therefore does not do what it was asked for."""

from enum import StrEnum
from typing import Final


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
    State.DRAINING: "The service is stopping; send the request again, to another instance if there is one.",
    State.FAILED: "The model could not be loaded and the service is stopping; see its log.",
}


class ReloadUnderWayError(Exception):
    """A bundle is being opened already."""

    def __init__(self) -> None:
        super().__init__("A bundle is being opened already; ask again when that is done.")


class BundleRefusedError(Exception):
    """A bundle cannot take over; the message says everything that is wrong with it, and the old one serves on."""


class NotReadyError(Exception):
    """The service cannot classify now; ``state`` says why, ``retry_after_s`` when it may, where that is known."""

    def __init__(self, state: State, retry_after_s: int | None = None) -> None:
        self.state = state
        self.retry_after_s = retry_after_s
        super().__init__(_EXPLANATIONS[state])
