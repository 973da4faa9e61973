"""A reload: which bundle takes over, and which is refused while the old one stays."""

from pathlib import Path
from typing import Any

import pytest

from contract.bundle import Bundle
from service.engine.onnx import OnnxEngine
from service.settings import Settings
from tests.conftest import WriteBundle
from tests.service.classify_requests import form
from tests.service.live_server import serving
from tests.service.shelf import Shelf
from tests.service.tiny_bundle import TinyNetwork, encoded


def test_a_reload_serves_what_the_link_leads_to_now(shelf: Shelf, network: TinyNetwork) -> None:
    cell = form(encoded(network.cell(3)))
    with shelf.serving() as live:
        shelf.put("2.0.0")
        assert live.http.post("/classify", files=cell).json()["model"]["version"] == "1.0.0"
        response = live.http.post("/admin/reload")
        assert response.status_code == 200
        versions = {moment: stamp["version"] for moment, stamp in response.json().items()}
        assert versions == {"before": "1.0.0", "now": "2.0.0"}
        answer = live.http.post("/classify", files=cell).json()
        assert answer["model"] == response.json()["now"]
        assert shelf.agrees(answer, 3)
        assert live.http.get("/model").json()["version"] == "2.0.0"
        assert live.hal.reloads == 1


def test_a_folder_whose_files_were_replaced_is_read_again(
    tmp_path: Path, write_bundle: WriteBundle, network: TinyNetwork
) -> None:
    with serving(write_bundle(tmp_path)) as live:
        write_bundle(tmp_path, version="1.2.4", graph=network.graph(rounds=1))
        assert live.http.post("/admin/reload").json()["now"]["version"] == "1.2.4"


def spoil(shelf: Shelf, how: str) -> str:
    """Make the second version unusable; what the refusal must say."""
    bundle = shelf.bundles["2.0.0"]
    if how == "missing":
        shelf.link.unlink()
        shelf.link.symlink_to("nowhere")
        return "no bundle.json in"
    shelf.put("2.0.0")
    if how == "two faults":
        (bundle.root / "golden.npz").unlink()
        (bundle.root / "model.onnx").write_bytes(b"x")
        return "model.onnx has 1 bytes"
    if how == "description":
        (bundle.root / "bundle.json").write_text('{"name": 3}')
        return "is not a valid bundle"
    raise AssertionError(how)


@pytest.mark.parametrize("how", ["missing", "two faults", "description"])
def test_a_bundle_that_cannot_be_served_is_refused_with_the_reasons_and_the_old_one_stays(
    shelf: Shelf, network: TinyNetwork, how: str
) -> None:
    with shelf.serving() as live:
        reason = spoil(shelf, how)
        response = live.http.post("/admin/reload")
        assert response.status_code == 409
        error = response.json()["error"]
        assert error["code"] == "bundle_refused"
        assert "the old one stays" in error["message"]
        assert reason in error["message"]
        if how == "two faults":
            assert "golden.npz is missing" in error["message"]
        answer = live.http.post("/classify", files=form(encoded(network.cell(5)))).json()
        assert answer["model"]["version"] == "1.0.0"
        assert shelf.agrees(answer, 5)
        assert live.http.get("/health/ready").status_code == 200
        assert (live.hal.reloads, live.hal.reloads_refused) == (0, 1)


def test_a_network_that_fails_its_golden_sample_never_takes_over(
    shelf: Shelf, write_bundle: WriteBundle, network: TinyNetwork
) -> None:
    with shelf.serving() as live:
        write_bundle(shelf.link.parent / "2.0.0", version="2.0.0", graph=network.graph(bias=50))
        shelf.put("2.0.0")
        response = live.http.post("/admin/reload")
        assert "differs from the golden sample" in response.json()["error"]["message"]
        assert live.http.get("/model").json()["version"] == "1.0.0"


def test_an_unexpected_failure_tells_nothing_of_itself(shelf: Shelf) -> None:
    def open_engine(bundle: Bundle, options: Settings) -> Any:
        if bundle.description.version == "2.0.0":
            raise RuntimeError("secret")
        return OnnxEngine.open(bundle, options)

    with shelf.serving(open_engine=open_engine) as live:
        shelf.put("2.0.0")
        response = live.http.post("/admin/reload")
        assert response.status_code == 409
        assert "secret" not in response.text
        assert live.http.get("/health/ready").status_code == 200
