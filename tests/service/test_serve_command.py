import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from tests.service.live_server import until
from tests.service.tiny_bundle import TinyNetwork, encoded

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HAL_", "PORT"))}
    return inherited | {"PYTHONPATH": str(ROOT), "HAL_ENGINE_THREADS": "1"} | variables


@dataclass(frozen=True)
class Served:
    process: "subprocess.Popen[str]"
    url: str
    port: int
    greeting: str

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def command(bundle: Bundle, **variables: str) -> Iterator[Served]:
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "--port", "0"],
        env=environment(HAL_BUNDLE=str(bundle.root), **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        greeting = "".join(process.stdout.readline() for _ in range(4))
        url = greeting.rsplit(" ", 1)[-1].strip().removesuffix("/classify")
        with httpx.Client(timeout=PATIENCE_S) as http:
            until(lambda: ready(http, url))
        yield Served(process, url, int(url.rsplit(":", 1)[-1]), greeting)
    finally:
        process.kill()
        process.communicate()


def ready(http: httpx.Client, url: str) -> bool:
    with contextlib.suppress(httpx.ConnectError):
        return http.get(f"{url}/health/ready").status_code == 200
    return False


def failing(*options: str, **variables: str) -> str:
    """What a start that must fail says."""
    finished = subprocess.run(
        [sys.executable, "-m", "service", *options],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert finished.returncode == 1, finished
    assert "Traceback" not in finished.stderr
    return finished.stderr


def test_the_greeting_names_the_model_and_a_command_that_works(
    bundle: Bundle, network: TinyNetwork, tmp_path: Path
) -> None:
    with command(bundle) as served:
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
        assert json.loads(curl.stdout)["results"][0]["predicted_class"] in CLASS_NAMES
        assert served.stop() == 0


def test_sigterm_while_idle_ends_at_once_with_0(bundle: Bundle) -> None:
    with command(bundle) as served, httpx.Client() as keeping_alive:
        keeping_alive.get(f"{served.url}/health/live")
        assert served.stop() == 0


def test_sigterm_finishes_a_request_that_is_being_uploaded(bundle: Bundle, network: TinyNetwork) -> None:
    image = encoded(network.cell(1), "PNG")
    with command(bundle) as served:
        with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S) as client:
            client.sendall(
                b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nExpect: 100-continue\r\n"
                b"Content-Length: %d\r\n\r\n" % len(image)
            )
            assert client.recv(1000).startswith(b"HTTP/1.1 100"), "now the service reads it"
            served.process.send_signal(signal.SIGTERM)
            until(lambda: refused(served.port))
            client.sendall(image)
            response = http.client.HTTPResponse(client)
            response.begin()
            assert response.status == 200
            assert json.load(response)["results"][0]["predicted_class"] == "Eosinophil"
        assert served.process.wait(PATIENCE_S) == 0


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_client_that_never_finishes_does_not_hold_up_the_end(bundle: Bundle) -> None:
    with (
        command(bundle, HAL_DRAIN_S="1") as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S) as client,
    ):
        client.sendall(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nExpect: 100-continue\r\n"
            b"Content-Length: 9\r\n\r\n"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 100")
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(10) == 0


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


def test_wrong_settings_are_one_clear_message(bundle: Bundle) -> None:
    said = failing(HAL_BUNDLE=str(bundle.root), HAL_DEVICE="gpu", HAL_MAX_BATCH="many")
    assert "HAL_DEVICE='gpu'" in said
    assert "HAL_MAX_BATCH='many'" in said


def test_cuda_asked_for_and_absent_refuses_to_start(bundle: Bundle) -> None:
    said = failing("--port", "0", "--device", "cuda", HAL_BUNDLE=str(bundle.root), CUDA_VISIBLE_DEVICES="")
    assert "HAL_DEVICE=cuda was asked for" in said


def test_a_misspelt_variable_is_warned_about(bundle: Bundle) -> None:
    said = failing("--device", "gpu", HAL_BUNDLE=str(bundle.root))
    assert "HAL_BATCH" not in said
    with command(bundle, HAL_BATCH="4") as served:
        served.stop()
        assert served.process.stderr is not None
        assert "did you mean HAL_MAX_BATCH?" in served.process.stderr.readline()


def test_the_command_line_is_light() -> None:
    code = "import sys, service.cli; print([m for m in ('fastapi', 'onnxruntime', 'PIL', 'numpy') if m in sys.modules])"
    finished = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert finished.stdout.strip() == "[]"
