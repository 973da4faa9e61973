"""The ceiling of the HTTP path: the null bundle behind each candidate, all in one run."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench.service import candidates
from bench.service.candidates import Candidate, CandidateError
from bench.service.workload import BULK, Workload, offer
from contract.bundle import Bundle

CONNECTIONS: Final = 32
BULK_CONNECTIONS: Final = 2
"""Two requests of 64 images: one is worked on while the other arrives."""


def measure_null_path(
    bundle: Bundle, workload: Workload, folder: Path, peers: Path | None, seconds: float
) -> Iterator[dict[str, Any]]:
    """One row for each candidate and kind of request.

    Args:
        bundle: the null bundle.
        workload: what is sent.
        folder: for the requests and the candidates' logs.
        peers: the Python interpreter where LitServe and BentoML are installed, or ``None`` to leave them out.
        seconds: measured time of each row.
    """
    compared: Sequence[Candidate] = (candidates.hal(bundle), candidates.plain(bundle))
    if peers is not None:
        compared = (
            *compared,
            candidates.litserve(bundle, peers),
            candidates.litserve(bundle, peers, max_batch=8),
            candidates.bentoml(bundle, peers),
        )
    for candidate in compared:
        try:
            with candidates.running(candidate, folder / "candidate.log") as target:
                for kind, path in candidate.paths.items():
                    bulk = kind == "bulk"
                    figures = offer(
                        target,
                        workload.write(folder, kind, path),
                        connections=BULK_CONNECTIONS if bulk else CONNECTIONS,
                        seconds=seconds,
                    )
                    images = figures["per_second"] * (BULK if bulk else 1)
                    yield {"candidate": candidate.name, "kind": kind, "images_per_second": images, **figures}
        except CandidateError as error:
            yield {"candidate": candidate.name, "kind": "form", "note": str(error)}
