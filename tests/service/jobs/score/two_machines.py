"""A Ray cluster of two machines with a core each, both on this one, until standard input ends.

Each machine has its own processes and only Ray's protocol between them. ``lose`` on standard input kills those of the
second (SIGKILL: nobody is told) and is answered when that is done.
"""

import sys

import ray
from ray.cluster_utils import Cluster

STARTS = 3
"""A busy machine may be too slow for the 30 s that Ray allows itself."""


def start() -> tuple[Cluster, object]:
    for left in reversed(range(STARTS)):
        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=1, include_dashboard=False, include_log_monitor=False, no_monitor=True)
            return cluster, cluster.add_node(num_cpus=1)
        except Exception:
            if not left:
                raise
            cluster.shutdown()
            ray.shutdown()
    raise AssertionError


if __name__ == "__main__":
    cluster, second = start()
    print(cluster.address, flush=True)  # noqa: T201
    for _ in sys.stdin:
        cluster.remove_node(second, allow_graceful=False)
        print("lost", flush=True)  # noqa: T201
    cluster.shutdown()
