"""How many requests the generator itself can send on this machine: its ceiling."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

from bench.loadtest.figures import Figures, figures_of
from bench.loadtest.generator import run
from bench.loadtest.plan import Load, Target
from bench.loadtest.requests import Form

CLIENTS: Final = 32
ANSWER_BYTES: Final = 1200
"""Of one image's answer."""
NEAR: Final = 0.7
"""Share of the ceiling above which a result may be the generator's and not the service's."""


async def measure(forms: Sequence[Form], seconds: float) -> Figures:
    """The same requests against a server that does nothing, which shares this machine's cores with the generator."""
    size = str(ANSWER_BYTES * forms[0].images)
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.loadtest.trivial",
        size,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdout is not None  # noqa: S101
    assert server.stdin is not None  # noqa: S101
    try:
        port = int(await server.stdout.readline())
        load = Load(concurrency=CLIENTS, duration_s=seconds, warmup_s=0.3)
        return figures_of(await run(Target(f"http://127.0.0.1:{port}"), forms, load))
    finally:
        server.stdin.close()
        await server.wait()
