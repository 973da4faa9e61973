import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from service.auth.keys import Role, add
from service.http.server import PortError, listen
from service.settings import Settings
from tests.paths import ROOT
from tests.service.live_server import until
from tests.service.process import PATIENCE_S, environment, failing, running
from tests.service.tiny_bundle import TinyNetwork, encoded


def test_the_greeting_names_the_model_and_a_command_that_works(
    bundle: Bundle, network: TinyNetwork, tmp_path: Path
) -> None:
    with running(bundle.root) as served, served.http() as keeping_alive:
        assert keeping_alive.get("/health/live").status_code == 200
        assert "tiny 1.2.3" in served.greeting
        assert bundle.file().sha256 in served.greeting
        line = served.greeting.splitlines()[-1].split()
        assert line[:2] == ["curl", "-F"]
        image = tmp_path / "cell.jpg"
        image.write_bytes(encoded(network.cell(1), "JPEG"))
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        curl = subprocess.run(
            ["curl", "-sS", "-F", f"file=@{image}", line[-1]], capture_output=True, check=True, timeout=PATIENCE_S
        )
        assert json.loads(curl.stdout)["results"][0]["class_name"] in CLASS_NAMES
        assert served.stop() == 0


def test_sigterm_finishes_a_request_that_is_being_uploaded(bundle: Bundle, network: TinyNetwork) -> None:
    image = encoded(network.cell(1), "PNG")
    with running(bundle.root) as served:
        with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S) as client:
            client.sendall(
                b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nExpect: 100-continue\r\n"
                b"Content-Length: %d\r\n\r\n" % len(image)
            )
            assert client.recv(1000).startswith(b"HTTP/1.1 100"), "now the service reads it"
            served.send(signal.SIGTERM)
            until(lambda: refused(served.port))
            client.sendall(image)
            response = http.client.HTTPResponse(client)
            response.begin()
            assert response.status == 200
            assert json.load(response)["results"][0]["class_name"] == "Eosinophil"
        assert served.wait() == 0


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_missing_bundle_is_one_clear_message(tmp_path: Path) -> None:
    said = failing("--port", "0", "--bundle", str(tmp_path / "nowhere"))
    assert "no bundle.json in" in said
    assert "HAL_BUNDLE" in said


def test_an_altered_file_is_one_clear_message(tmp_path: Path, bundle: Bundle) -> None:
    altered = shutil.copytree(bundle.root, tmp_path / "altered")
    graph = bytearray((altered / "model.onnx").read_bytes())
    graph[-1] ^= 1
    (altered / "model.onnx").write_bytes(graph)
    assert "model.onnx has SHA-256" in failing("--port", "0", HAL_BUNDLE=str(altered))


def test_a_golden_mismatch_is_one_clear_message(tmp_path: Path, write_bundle: object, network: TinyNetwork) -> None:
    write_bundle(tmp_path, graph=network.graph(bias=50))  # type: ignore[operator]
    assert "differs from the golden sample" in failing("--port", "0", HAL_BUNDLE=str(tmp_path))


def test_a_taken_port_is_one_clear_message(bundle: Bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = failing(HAL_BUNDLE=str(bundle.root), PORT=str(taken.getsockname()[1]))
    assert "cannot listen on 127.0.0.1" in said
    assert "choose another" in said


@pytest.mark.parametrize("host", ["nowhere.invalid", "127.0.0.1:8000", "http://127.0.0.1", "a" * 70, "192.0.2.1"])
def test_a_host_that_is_not_here_is_named_with_what_to_do(host: str) -> None:
    with pytest.raises(PortError, match=f"^HAL_HOST='{host}' .*set HAL_HOST or --host to 127.0.0.1") as caught:
        listen(Settings(host=host, port=0))
    assert "choose another" not in str(caught.value)


def test_the_printed_command_has_a_place_for_the_key(bundle: Bundle, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    key = add(keys, "analyser", Role.CLASSIFY)
    with running(bundle.root, HAL_KEYS_FILE=str(keys)) as served:
        curl = served.greeting.splitlines()[-1]
        answer = subprocess.run(
            ["bash", "-c", f"{curl} -sS"], env=os.environ | {"KEY": key}, cwd=ROOT, capture_output=True, check=True
        )
        assert len(json.loads(answer.stdout)["results"]) == 1


def test_wrong_settings_are_one_clear_message(bundle: Bundle) -> None:
    said = failing(HAL_BUNDLE=str(bundle.root), HAL_DEVICE="gpu", HAL_MAX_BATCH="many")
    assert "HAL_DEVICE='gpu'" in said
    assert "HAL_MAX_BATCH='many'" in said


def test_cuda_asked_for_and_absent_is_refused_before_an_address_is_promised(bundle: Bundle) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "service", "--port", "0", "--device", "cuda"],
        env=environment(HAL_BUNDLE=str(bundle.root), CUDA_VISIBLE_DEVICES=""),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("hal serve: HAL_DEVICE=cuda was asked for")
    assert finished.stdout == ""


def test_a_misspelt_variable_is_warned_about(bundle: Bundle) -> None:
    with running(bundle.root, HAL_BATCH="4") as served:
        assert served.logged("did you mean HAL_MAX_BATCH?")
        assert served.stop() == 0


def test_the_command_line_is_light() -> None:
    code = "import sys, service.cli; print([m for m in ('fastapi', 'onnxruntime', 'PIL', 'numpy') if m in sys.modules])"
    finished = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert finished.stdout.strip() == "[]"
