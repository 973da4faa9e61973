"""How a request ends without an answer: from the engine process's error to the same error in the worker."""

import logging

from service.batching.queue import Priority
from service.images.refusals import DeadlineExceededError, DrainingError, QueueFullError
from service.observe.audit import AuditFullError
from service.serving.states import BundleRefusedError, NotReadyError, ReloadUnderWayError, State
from service.workers.messages import Refused, Reloaded

logger = logging.getLogger("hal.workers")


class EngineProcessError(Exception):
    """The engine process met something unexpected; its log says what."""


def refusal(request: int, error: Exception) -> Refused:
    """What the worker is told."""
    match error:
        case QueueFullError():
            return Refused(request, "queue_full", error.priority, error.taken, error.retry_after_s)
        case DeadlineExceededError():
            return Refused(request, "deadline", error.limit)
        case DrainingError():
            return Refused(request, "draining")
        case AuditFullError():
            return Refused(request, "audit_full")
        case NotReadyError():
            return Refused(request, "not_ready", error.state)
    logger.error("unexpected error", exc_info=error)
    return Refused(request, "unexpected")


def error_of(refused: Refused) -> Exception:
    """The error that :func:`refusal` was given."""
    match refused.kind:
        case "queue_full":
            return QueueFullError(refused.taken, Priority(refused.text or ""), refused.retry_after_s)
        case "deadline":
            return DeadlineExceededError(refused.text)
        case "draining":
            return DrainingError()
        case "audit_full":
            return AuditFullError()
        case "not_ready":
            return NotReadyError(State(refused.text or ""))
    return EngineProcessError("the engine process met something unexpected; its log says what")


def reload_refusal(call: int, error: Exception) -> Reloaded:
    """What the worker that asked for a reload is told."""
    match error:
        case ReloadUnderWayError():
            return Reloaded(call, kind="under_way")
        case BundleRefusedError():
            return Reloaded(call, kind="refused", text=str(error))
        case NotReadyError():
            return Reloaded(call, kind="not_ready", text=error.state)
    logger.error("unexpected error in a reload", exc_info=error)
    return Reloaded(call, kind="unexpected")


def reload_error_of(reloaded: Reloaded) -> Exception:
    """The error that :func:`reload_refusal` was given."""
    match reloaded.kind:
        case "under_way":
            return ReloadUnderWayError()
        case "refused":
            return BundleRefusedError(reloaded.text)
        case "not_ready":
            return NotReadyError(State(reloaded.text))
    return EngineProcessError("the engine process met something unexpected; its log says what")
