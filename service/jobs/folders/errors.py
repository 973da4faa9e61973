"""What ends ``hal classify`` before all images are done."""


class FoldersError(Exception):
    """The work cannot be done as asked; the message says what was wrong, what was expected and what to do."""


class MixedModelsError(FoldersError):
    """The results that are there were made with another model, calibration or policy."""
