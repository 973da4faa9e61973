"""docker/nginx.conf: a real nginx before a real service, with the limits of both in step."""

import os
import re
import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from contract.bundle import Bundle
from service.settings import Settings
from tests.paths import ROOT
from tests.service.live_server import serving, until
from tests.service.process import free_port
from tests.service.tiny_bundle import TinyNetwork, encoded

CONF = (ROOT / "docker" / "nginx.conf").read_text(encoding="utf-8")
NGINX = shutil.which("nginx", path=f"/usr/sbin:/usr/local/sbin:{os.environ['PATH']}")


def test_its_limits_are_the_service_s() -> None:
    given = dict(re.findall(r"(\w+) (\d+)[ms];", CONF))
    settings = Settings()
    assert int(given["client_max_body_size"]) << 20 == settings.max_upload_bytes
    assert int(given["client_header_timeout"]) == settings.header_timeout_s
    assert int(given["client_body_timeout"]) == settings.upload_timeout_s
    assert int(given["send_timeout"]) == settings.answer_timeout_s
    assert int(given["proxy_read_timeout"]) * 1000 > settings.deadline_ms
    assert settings.keep_alive_s > 60, "nginx's own for connections to the service"


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_cell_is_classified_over_tls_by_the_replica_that_is_there(
    bundle: Bundle, network: TinyNetwork, tmp_path: Path
) -> None:
    crt, key, port = tmp_path / "tls.crt", tmp_path / "tls.key", free_port()
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(crt)]
    subprocess.run(made, capture_output=True, check=True)
    with serving(bundle, keep_alive_s=75) as live:
        upstream = f"server 127.0.0.1:{free_port()}; server 127.0.0.1:{live.port} "
        conf = CONF.replace("/tmp/", f"{tmp_path}/").replace("/etc/nginx/tls", str(tmp_path))  # noqa: S108
        conf = conf.replace("server hal:8000 ", upstream).replace("8443", f"127.0.0.1:{port}")
        (tmp_path / "nginx.conf").write_text(conf)
        command = [str(NGINX), "-e", "stderr", "-c", str(tmp_path / "nginx.conf"), "-g", "daemon off; user root;"]
        with subprocess.Popen(command) as proxy:
            try:
                trusted = ssl.create_default_context(cafile=str(crt))
                with httpx.Client(verify=trusted, base_url=f"https://localhost:{port}") as client:
                    until(lambda: answers(client) or proxy.poll() is not None)
                    for _ in range(3):
                        answer = client.post("/classify", files={"file": encoded(network.cell(1))})
                        assert answer.status_code == 200
                    large = client.post("/classify", content=bytes(5 << 20), headers={"Content-Type": "image/png"})
                    assert large.json()["request_id"], "the service's own answer"
            finally:
                proxy.terminate()
