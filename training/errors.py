"""The base of every error that a user of the training half can mend."""


class TrainingError(Exception):
    """The message says what was wrong, what was expected and what to do; ``hal`` prints it and exits with 1."""
