"""What Ray reads from the environment once, when it is imported."""

import contextlib
import os
import secrets
from collections.abc import Iterator


@contextlib.contextmanager
def environment(*, local: bool) -> Iterator[None]:
    """Ray's variables until the block ends; to be called before the first import of Ray.

    Nothing is reported to Ray's makers. The processes of a cluster of this machine's own want a token that only they
    know: some of their ports listen to the network, and whoever speaks to them runs code.

    Args:
        local: whether this process starts the cluster.
    """
    variables = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    if local:
        variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
