"""``python -m tests.fuzz``: what CI does in seconds, for as long as you like."""

import sys
import time
from typing import Annotated

import typer

from tests.fuzz.images import fuzz_images
from tests.fuzz.requests import fuzz_requests
from tests.fuzz.service import Findings


def main(
    images: Annotated[int, typer.Option(help="Mutated images.")] = 100_000,
    requests: Annotated[int, typer.Option(help="Mutated requests.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Another seed, other mutations.")] = 1,
) -> None:
    """Send mutated images and requests to a running service; fails on a 500, a hang or growth."""
    failed = False
    for what, run, count in (("images", fuzz_images, images), ("requests", fuzz_requests, requests)):
        if not count:
            continue
        start = time.monotonic()
        findings: Findings = run(count, seed)
        failed |= bool(findings.problems)
        outcomes = ", ".join(f"{name} {number}" for name, number in sorted(findings.outcomes.items()))
        typer.echo(f"{findings.sent} mutated {what} in {time.monotonic() - start:.0f} s (seed {seed}): {outcomes}")
        for line in findings.memory[:: max(1, len(findings.memory) // 10)]:
            typer.echo(f"  {line}")
        for problem in findings.problems:
            typer.echo(f"  PROBLEM {problem}")
    sys.exit(failed)


typer.run(main)
