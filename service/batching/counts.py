"""What a batcher and its seats count."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """What happened so far, in images unless said otherwise."""

    answered: int = 0
    failed: int = 0
    withdrawn: int = 0
    """Left the queue before they were answered: their client went away or a deadline passed."""
    expired: int = 0
    """Not answered before their deadline, whether they were in the queue already or still being prepared."""
    refused: int = 0
    """Requests that found no free seat."""
    disconnected: int = 0
    """Requests whose client went away, while it sent or while it waited."""
    batches: int = 0
    """Batches that the device finished."""
    retried_batches: int = 0
    """Batches that failed and were tried again in parts."""
    out_of_memory: int = 0
    """Batches, of any size, that found no memory."""
