"""What the images of a batch are told: their logits, or that the network failed on them."""

import logging
from collections.abc import Iterable, Sequence

import numpy as np

from service.batching.counts import Counts
from service.batching.errors import ModelFailedError
from service.batching.queue import Logits, Ticket

logger = logging.getLogger("hal.batching")


def hand_out(batch: Sequence[Ticket], rows: Logits, counts: Counts) -> None:
    """Give each image of a batch that ran its row, unless the row is no logits or nobody waits for it any more."""
    finite = np.logical_and.reduce(np.isfinite(rows), axis=1).tolist()
    for ticket, row, is_finite in zip(batch, rows, finite, strict=True):
        if ticket.answer.done():
            continue
        if is_finite:
            counts.answered += 1
            ticket.answer.set_result(row)
        else:
            logger.error("the engine gave logits that are not finite")
            fail([ticket], counts)


def fail(tickets: Iterable[Ticket], counts: Counts) -> None:
    """Tell those who still wait that the network failed on their images."""
    for ticket in tickets:
        if not ticket.answer.done():
            counts.failed += 1
            ticket.answer.set_exception(ModelFailedError())
