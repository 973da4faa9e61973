"""What ends ``hal score`` before all images are done."""

from service.jobs.folders.errors import FoldersError


class ScoreError(FoldersError):
    """The work cannot go on; what is done stays, and the message says what to do."""


class OtherRunError(ScoreError):
    """The folder of results belongs to another bundle, list of images or setting."""
