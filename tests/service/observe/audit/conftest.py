from collections.abc import Iterator

import pytest

from tests.service.observe.audit.postgres import Postgres, binaries


@pytest.fixture(scope="session")
def cluster() -> Iterator[Postgres]:
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server on this machine (Debian: apt install postgresql)")
    cluster = Postgres(programs)
    yield cluster
    cluster.close()


@pytest.fixture
def postgres(cluster: Postgres) -> Postgres:
    cluster.query("DROP TABLE IF EXISTS hal_audit_images, hal_audit_settings")
    return cluster
