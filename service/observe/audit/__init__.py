"""The audit trail: one row for each image, in a database, kept on disk while the database is away.

:mod:`service.observe.audit.trail` is what the service talks to; rows go through :mod:`service.observe.audit.database`, or through
:mod:`service.observe.audit.spool` until it answers again.
"""

from service.errors import ServiceError


class AuditError(Exception):
    """The audit trail cannot be kept as asked; the message says what was wrong and what to do."""


class AuditFullError(ServiceError):
    """More images would be answered without a row of the audit trail."""

    status, code = 503, "audit_full"

    def __init__(self) -> None:
        super().__init__(
            "The audit trail takes no more rows: its database is away and HAL_AUDIT_SPOOL is full; bring the database "
            "back or give the spool more room."
        )
