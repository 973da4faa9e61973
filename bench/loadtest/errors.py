"""What ends a load test before it has begun."""


class LoadTestError(Exception):
    """The test cannot be run as asked; the message says what was wrong, what was expected and what to do."""
