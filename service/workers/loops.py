"""How a process of the service that is not the parent runs."""

import asyncio
import signal


def ignore_signals() -> None:
    """Leave signals to the parent, which says what to do: supervisors and terminals signal all processes at once."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)


def runner() -> asyncio.Runner:
    """Runs an event loop, uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
