"""One HTTP process against several, on a graph that costs nothing and on the real one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench.service import candidates
from bench.service.null_path import BULK_CONNECTIONS, CONNECTIONS
from bench.service.workload import BULK, Workload, offer
from contract.bundle import Bundle

WORKERS: Final = (1, 2)


def measure_workers(
    null: Bundle, real: Bundle, workload: Workload, folder: Path, seconds: float
) -> Iterator[dict[str, Any]]:
    """One row for each bundle, number of HTTP workers and kind of request.

    Args:
        null: the null bundle.
        real: the bundle that is to be served.
        workload: what is sent.
        folder: for the requests and the candidates' logs.
        seconds: measured time of each row.
    """
    for name, bundle, kinds in (("null bundle", null, ("form", "raw", "bulk")), ("real bundle", real, ("form",))):
        for workers in WORKERS:
            candidate = candidates.hal(bundle, f"{name}, HAL_HTTP_WORKERS={workers}", HAL_HTTP_WORKERS=str(workers))
            with candidates.running(candidate, folder / "candidate.log") as target:
                for kind in kinds:
                    bulk = kind == "bulk"
                    figures = offer(
                        target,
                        workload.write(folder, kind, candidate.paths[kind]),
                        # As many for each worker as the rows of the null path have.
                        connections=2 * BULK_CONNECTIONS if bulk else CONNECTIONS,
                        seconds=seconds,
                        warmup_s=3,
                    )
                    images = figures["per_second"] * (BULK if bulk else 1)
                    yield {
                        "bundle": name,
                        "workers": workers,
                        "kind": kind,
                        "images_per_second": images,
                        **figures,
                    }
