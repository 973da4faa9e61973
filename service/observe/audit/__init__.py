"""The audit trail: one row for each image that is answered, written before the answer is sent."""

from service.errors import ServiceError, UserError


class AuditError(UserError):
    """The audit trail cannot be kept as asked."""


class AuditFullError(ServiceError):
    """An image would be answered without a row of the audit trail."""

    status, code = 503, "audit_full"

    def __init__(self) -> None:
        super().__init__(
            "The audit journal takes no more rows; the service's log says why. Bring the database of HAL_AUDIT back, "
            "make room on the disk or raise HAL_AUDIT_JOURNAL_BYTES."
        )
