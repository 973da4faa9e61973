"""``hal load-test`` against the real service as a process, and against a server that records what it is asked."""

import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

import hal
from bench.load import Load, Samples
from bench.load_test import SWEEP, Step
from bench.requests import SAMPLES, forms, jpeg, load_images
from bench.statistics import figures_of
from contract.bundle import Bundle
from tests.service.process import Process, running

LoadTest = Callable[..., Result]


@pytest.fixture(scope="module")
def live(bundle: Bundle) -> Iterator[Process]:
    with running(bundle.root) as server:
        yield server


@pytest.fixture
def load_test(tmp_path: Path) -> LoadTest:
    def invoke(*arguments: object, **variables: str) -> Result:
        quick = ["--duration", 0.4, "--warm-up", 0.1, "--out", tmp_path / "out"]
        return CliRunner().invoke(hal.app, ["load-test", *map(str, [*quick, *arguments])], env=variables)

    return invoke


@pytest.fixture
def cells() -> list[bytes]:
    random = np.random.default_rng(1)
    return [jpeg(Image.fromarray(random.integers(0, 256, (256, 256, 3), np.uint8))) for _ in range(20)]


class Recording(http.server.BaseHTTPRequestHandler):
    """Answers as HAL does, but has no metrics."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        model = {"name": "made", "version": "1.0.0", "precision": "int8", "device": "cpu"}
        self._answer(200 if self.path == "/model" else 404, model)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, {"results": [{}] * body.count(b'name="file"')})

    def _answer(self, status: int, document: object) -> None:
        self.server.keys.add(self.headers.get("Authorization"))  # type: ignore[attr-defined]
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is to be said."""


class RecordingServer(http.server.ThreadingHTTPServer):
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Recording)
        self.keys: set[str | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def recording() -> Iterator[RecordingServer]:
    with RecordingServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_closed_loop_is_measured_and_saved_with_its_batches(
    load_test: LoadTest, live: Process, tmp_path: Path
) -> None:
    found = load_test("--url", live.url, "--concurrency", 3, "--bulk", 6)
    assert found.exit_code == 0, found.output
    saved = json.loads((tmp_path / "out" / "figures.json").read_text())
    (step,) = saved["steps"]
    assert step["load"] == "closed loop, 3 clients"
    assert set(step["outcomes"]) == {"ok"}
    assert step["requests_s"] > 0
    assert step["images_s"] == pytest.approx(6 * step["requests_s"])
    assert 0 < step["latency_ms"]["p50"] <= step["slowest_ms"]
    assert step["batches"]["mean"] > 1
    assert sum(step["batches"]["shares"].values()) == pytest.approx(1)
    assert saved["model"] == {"name": "tiny", "version": "1.2.3", "precision": "float32", "device": "cpu"}
    assert saved["images"] == {"origin": "25 images of cells", "used": 25, "refused": {}, "per_request": 6}
    assert "closed loop, 3 clients" in found.stdout
    assert "images in a batch (mean)" in found.stdout


def test_a_sweep_finds_saturation_and_goes_through_it_to_a_report_of_one_file(
    load_test: LoadTest, live: Process, tmp_path: Path
) -> None:
    found = load_test("--url", live.url, "--sweep", "--concurrency", 4, "--duration", 0.2)
    assert found.exit_code == 0, found.output
    saved = json.loads((tmp_path / "out" / "figures.json").read_text())
    full = saved["saturation"]["requests_s"]
    assert [step["rate"] for step in saved["steps"]] == [pytest.approx(share * full) for share in SWEEP]
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count('<img src="data:image/svg+xml;base64,') >= 3
    assert re.findall(r'(?:src|href)="(?!data:)', html) == []
    for words in ("Latency against offered load", "At 80 % of saturation", "the service shares this machine"):
        assert words in html


@pytest.mark.parametrize("by_file", [True, False])
def test_where_batch_sizes_are_not_told_it_is_said_and_the_key_is_sent(
    load_test: LoadTest, recording: RecordingServer, tmp_path: Path, by_file: bool
) -> None:
    (tmp_path / "key").write_text("secret\n")
    given, variables = (["--api-key-file", tmp_path / "key"], {}) if by_file else ([], {"HAL_API_KEY": "secret"})
    found = load_test("--url", recording.url, "--rate", 50, *given, **variables)
    assert found.exit_code == 0, found.output
    assert "open loop, 50 requests/s, Poisson arrivals" in found.stdout
    assert "batch sizes: not available, GET /metrics was answered 404" in found.stdout
    assert "not available" in (tmp_path / "out" / "report.html").read_text()
    assert recording.keys == {"Bearer secret"}


def test_images_that_the_service_refuses_are_not_sent(
    load_test: LoadTest, live: Process, tmp_path: Path, cells: list[bytes]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for index, data in enumerate([*cells, b"", b"GIF89a"]):
        (folder / f"{index}.png").write_bytes(data)
    assert load_test("--url", live.url, "--images", folder).exit_code == 0
    saved = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert saved["images"]["used"] == 20
    assert saved["images"]["refused"] == {"empty_image": 1, "unsupported_type": 1}
    assert set(saved["steps"][0]["outcomes"]) == {"ok"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", 5, "--sweep"], "--rate is an open loop"),
        (["--rate", 0], "expected more than 0"),
        (["--url", "http://127.0.0.1:9"], "no HAL service answers at http://127.0.0.1:9"),
        (["--images", "nowhere"], "no image in nowhere"),
        (["--api-key-file", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_measured_ends_with_1_and_a_message(
    load_test: LoadTest, arguments: list[object], message: str
) -> None:
    found = load_test(*arguments)
    assert found.exit_code == 1, found.output
    assert message in found.stderr


def test_only_refused_images_are_not_a_load(load_test: LoadTest, live: Process, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "bad.png").write_bytes(b"")
    found = load_test("--url", live.url, "--images", tmp_path / "bad")
    assert found.exit_code == 1
    assert "refuses all of the 1 images of bad: empty_image (1)" in found.stderr


def test_a_generator_that_may_be_the_limit_says_so() -> None:
    load, samples = Load(rate=2, duration_s=1), Samples()
    samples.add(0.0, 0.001, 0.1, "ok")
    step = Step(load, samples, figures_of(samples, load), None)
    assert step.warning is None
    assert "fell behind" in (replace(step, figures=replace(step.figures, late_ms=11)).warning or "")
    assert "90% of a core" in (replace(step, figures=replace(step.figures, cpu_share=0.9)).warning or "")


def test_all_images_take_their_turn_in_bulk_forms(cells: list[bytes]) -> None:
    made = forms(cells, 7)
    assert {each.images for each in made} == {7}
    for data in cells:
        assert any(data in each.body for each in made)


def test_the_images_are_real_cells_or_cost_about_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    real, _ = load_images(None)
    assert len(real) == len(list(SAMPLES.glob("*.jpg")))
    monkeypatch.setattr("bench.requests.SAMPLES", Path("nowhere"))
    made, origin = load_images(None)
    assert "noise" in origin
    for data in made:
        assert 0.5 * np.median([*map(len, real)]) < len(data) < 2 * np.median([*map(len, real)])
