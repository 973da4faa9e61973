"""A bundle whose ``bundle.json`` is larger than a pipe, in a service of several processes."""

import sys
from pathlib import Path

import pytest

from contract import bundle as bundles
from contract.bundle import Bundle
from tests.service.conftest import WriteBundle
from tests.service.load_clients import becomes, post
from tests.service.process import running
from tests.service.several_processes import several

MORE_THAN_A_PIPE = 1_000_000
SERVE = "import multiprocessing; multiprocessing.set_executable({python!r}); from hal import main; main()"
DIES_AT_ONCE = '#!/bin/sh\ncase "$*" in *spawn_main*) exit 1;; esac\nexec "{python}" "$@"\n'
"""An interpreter that starts multiprocessing's resource tracker, but no process of the service."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, write_bundle: WriteBundle) -> Bundle:
    small = write_bundle(tmp_path_factory.mktemp("large"))
    limits = ("x" * MORE_THAN_A_PIPE,)
    return bundles.write(small.root, small.manifest.model_copy(update={"limits": limits}))


def test_every_process_has_the_whole_of_a_large_bundle(large: Bundle, cell: bytes) -> None:
    with several(large.root) as served:
        with served.http() as http:
            assert http.get("/model").json()["limits"] == [*large.manifest.limits]
        assert becomes(post(served, cell)) == "200"
        assert served.stop() == 0


def test_a_process_that_dies_before_it_has_read_a_large_bundle_ends_the_service(large: Bundle, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(DIES_AT_ONCE.format(python=sys.executable))
    python.chmod(0o700)
    program = ("-c", SERVE.format(python=str(python)), "serve")
    with running(large.root, program=program, wait=False, HAL_HTTP_WORKERS="2") as served:
        assert served.wait() == 1
        assert served.logged("the engine process cannot be started; the service ends")
