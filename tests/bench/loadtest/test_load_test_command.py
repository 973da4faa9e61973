"""``hal load-test`` against the real service."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

import hal
from bench.loadtest import ceiling, generator
from bench.loadtest.figures import figures_of, latencies_ms, measured
from bench.loadtest.generator import run
from bench.loadtest.plan import Load, Target
from bench.loadtest.requests import SAMPLES, drawn_cell, form, forms, load_images
from bench.loadtest.trial import SWEEP
from contract.bundle import Bundle
from service.images.decode import decode
from service.settings import Fit
from tests.service.live_server import LiveServer, serving
from tests.service.slow_device import SlowDevice
from tests.service.tiny_bundle import TinyNetwork, encoded

LoadTest = Callable[..., Result]


@pytest.fixture(scope="module")
def live(bundle: Bundle) -> Iterator[LiveServer]:
    with serving(bundle) as server:
        yield server


@pytest.fixture
def load_test(tmp_path: Path) -> LoadTest:
    def invoke(*arguments: object, **variables: str) -> Result:
        quick = ["--duration", 0.4, "--warm-up", 0.1, "--out", tmp_path / "out"]
        return CliRunner().invoke(hal.app, ["load-test", *map(str, [*quick, *arguments])], env=variables)

    return invoke


@pytest.fixture
def cells(network: TinyNetwork) -> list[bytes]:
    return [encoded(network.cell(index)) for index in range(20)]


def test_a_closed_loop_is_measured_and_saved(load_test: LoadTest, live: LiveServer, tmp_path: Path) -> None:
    found = load_test("--url", live.url, "--concurrency", 3)
    assert found.exit_code == 0, found.output
    saved = json.loads((tmp_path / "out" / "figures.json").read_text())
    (step,) = saved["steps"]
    assert step["load"] == "closed loop, 3 clients"
    assert step["outcomes"] == {"ok": step["outcomes"]["ok"]}
    assert step["requests_s"] == step["images_s"] > 0
    assert 0 < step["latency_ms"]["p50"] <= step["slowest_ms"]
    assert saved["model"] == {"name": "tiny", "version": "1.2.3", "precision": "float32", "device": "cpu"}
    assert saved["images"] == {"origin": "25 images of cells", "used": 25, "refused": {}, "per_request": 1}
    assert saved["generator_ceiling_requests_s"] > 0
    assert "generator alone" in found.stdout
    assert "closed loop, 3 clients" in found.stdout


def test_the_report_is_one_file_with_plots(load_test: LoadTest, live: LiveServer, tmp_path: Path) -> None:
    load_test("--url", live.url, "--rate", 50)
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count('<img src="data:image/svg+xml;base64,') >= 2
    assert re.findall(r'(?:src|href)="(?!data:)', html) == []
    assert "open loop, 50 requests/s, Poisson arrivals" in html
    assert "no coordinated omission" in html


def test_a_sweep_finds_saturation_and_goes_through_it(load_test: LoadTest, live: LiveServer, tmp_path: Path) -> None:
    found = load_test("--url", live.url, "--sweep", "--concurrency", 4)
    assert found.exit_code == 0, found.output
    saved = json.loads((tmp_path / "out" / "figures.json").read_text())
    full = saved["saturation"]["requests_s"]
    assert [step["rate"] for step in saved["steps"]] == [pytest.approx(share * full) for share in SWEEP]
    html = (tmp_path / "out" / "report.html").read_text()
    assert "Latency against offered load" in html
    assert "At 80 % of it" in html


def test_bulk_requests_carry_many_images(load_test: LoadTest, live: LiveServer, tmp_path: Path) -> None:
    load_test("--url", live.url, "--bulk", 6)
    (step,) = json.loads((tmp_path / "out" / "figures.json").read_text())["steps"]
    assert step["images_s"] == pytest.approx(6 * step["requests_s"])


def test_where_batch_sizes_are_not_told_it_is_said(load_test: LoadTest, live: LiveServer, tmp_path: Path) -> None:
    if httpx.get(f"{live.url}/metrics").status_code == 200:
        pytest.skip("this service tells them")
    assert "batch sizes: not available, GET /metrics was answered 404" in load_test("--url", live.url).stdout
    assert "not available" in (tmp_path / "out" / "report.html").read_text()


def test_batch_sizes_are_told(load_test: LoadTest, live: LiveServer, tmp_path: Path) -> None:
    if httpx.get(f"{live.url}/metrics").status_code == 404:
        pytest.skip("this service has no /metrics")
    assert "images in a batch (mean)" in load_test("--url", live.url, "--bulk", 4).stdout
    (step,) = json.loads((tmp_path / "out" / "figures.json").read_text())["steps"]
    assert step["batches"]["mean"] > 1
    assert sum(step["batches"]["shares"].values()) == pytest.approx(1)


def test_images_that_the_service_refuses_are_not_sent(
    load_test: LoadTest, live: LiveServer, tmp_path: Path, cells: list[bytes]
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


def test_only_refused_images_are_not_a_load(load_test: LoadTest, live: LiveServer, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "bad.png").write_bytes(b"")
    found = load_test("--url", live.url, "--images", tmp_path / "bad")
    assert found.exit_code == 1
    assert "refuses all of the 1 images of bad: empty_image (1)" in found.stderr


@contextlib.contextmanager
def stalled(device: SlowDevice, seconds: float) -> Iterator[None]:
    """A device that is held for so long from the first image on, as long as a generator sends, or longer."""

    def stall() -> None:
        device.wait_until_busy()
        time.sleep(seconds)  # the stall itself
        device.let_go()

    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(stall)
        yield
        ended.result()


def test_a_stall_is_felt_by_every_request_that_was_due_in_it(bundle: Bundle, cells: list[bytes]) -> None:
    """An open loop has no coordinated omission; a closed loop asks a stalled service once and waits."""

    def slow_ones(load: Load) -> int:
        device = SlowDevice(held=True)
        with serving(bundle, open_engine=lambda *_: device) as live, stalled(device, 1.2):
            found = asyncio.run(run(Target(live.url), forms(cells, 1), load))
        return int((latencies_ms(found) > 600).sum())

    assert slow_ones(Load(rate=100, duration_s=1, warmup_s=0, even=True)) >= 40
    assert slow_ones(Load(concurrency=1, duration_s=1, warmup_s=0)) <= 3


def test_errors_are_counted_by_code(bundle: Bundle, cells: list[bytes]) -> None:
    device = SlowDevice(held=True)
    load = Load(rate=40, duration_s=0.4, warmup_s=0, even=True)
    with serving(bundle, open_engine=lambda *_: device, queue_limit=1, max_batch=1) as live, stalled(device, 1.5):
        found = asyncio.run(run(Target(live.url), forms(cells, 1), load))
    outcomes = figures_of(found).outcomes
    assert outcomes["429 queue_full"] > 5
    assert outcomes["ok"] == 1


def test_a_service_that_goes_away_is_an_error_by_its_kind(bundle: Bundle, cells: list[bytes]) -> None:
    with serving(bundle) as live:
        target = Target(live.url)
    found = figures_of(asyncio.run(run(target, forms(cells, 1), Load(rate=20, duration_s=0.2, warmup_s=0, even=True))))
    assert set(found.outcomes) == {"ClientConnectorError"}


def test_a_request_that_takes_too_long_is_a_timeout(bundle: Bundle, cells: list[bytes]) -> None:
    device = SlowDevice(held=True)
    with serving(bundle, open_engine=lambda *_: device) as live:
        target = Target(live.url, timeout_s=0.2)
        found = figures_of(
            asyncio.run(run(target, forms(cells, 1), Load(rate=20, duration_s=0.3, warmup_s=0, even=True)))
        )
        device.let_go()
    assert set(found.outcomes) == {"timeout"}


def test_a_generator_that_cannot_send_all_says_so(
    bundle: Bundle, cells: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "MOST_IN_FLIGHT", 2)
    device = SlowDevice(held=True)
    load = Load(rate=50, duration_s=0.4, warmup_s=0, even=True)
    with serving(bundle, open_engine=lambda *_: device) as live, stalled(device, 1.5):
        found = figures_of(asyncio.run(run(Target(live.url), forms(cells, 1), load)))
    assert found.not_sent == found.outcomes["not_sent"] > 10
    assert found.fell_behind


def test_a_rate_beyond_the_generator_is_seen_as_falling_behind(live: LiveServer, cells: list[bytes]) -> None:
    load = Load(rate=50_000, duration_s=0.01, warmup_s=0, even=True)
    found = asyncio.run(run(Target(live.url, timeout_s=60), forms(cells, 1), load))
    assert figures_of(found).fell_behind
    assert len(measured(found)) == pytest.approx(500, abs=2)


@pytest.mark.parametrize("bulk", [1, 40])
def test_the_ceiling_is_measured_with_the_same_requests(cells: list[bytes], bulk: int) -> None:
    found = asyncio.run(ceiling.measure(forms(cells, bulk), 0.3))
    assert found.outcomes["ok"] > 1
    assert set(found.outcomes) == {"ok"}


def test_forms_are_what_the_service_reads(live: LiveServer, cells: list[bytes]) -> None:
    made = form(cells)
    answer = live.http.post("/classify", content=made.body, headers={"Content-Type": made.content_type})
    assert [result["predicted_class"] for result in answer.json()["results"]][:2] == [
        "Segmented neutrophil",
        "Eosinophil",
    ]


def test_all_images_take_their_turn_in_bulk_forms(cells: list[bytes]) -> None:
    made = forms(cells, 7)
    assert {made_form.images for made_form in made} == {7}
    for data in cells:
        assert any(data in made_form.body for made_form in made)


def test_the_images_are_real_cells_or_at_least_decodable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(load_images(None).data) == len(list(SAMPLES.glob("*.jpg")))
    monkeypatch.setattr("bench.loadtest.requests.SAMPLES", Path("nowhere"))
    drawn = load_images(None)
    assert "drawn" in drawn.origin
    for data in drawn.data[:3]:
        assert decode(data, fit=Fit.STRICT, max_bytes=10**6, max_pixels=10**6).shape == (256, 256, 3)
        assert 8_000 < len(data) < 40_000
    assert drawn_cell(1) == drawn.data[1]


def test_the_key_is_sent(load_test: LoadTest, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    seen: set[str] = set()
    with serving(bundle) as live:
        app = live.server.config.app

        async def watching(scope, receive, send):  # type: ignore[no-untyped-def]
            if scope["type"] == "http":
                seen.add(dict(scope["headers"]).get(b"authorization", b"").decode())
            await app(scope, receive, send)  # type: ignore[operator]

        live.server.config.loaded_app = watching
        load_test("--url", live.url, "--api-key-file", tmp_path / "key")
    assert "Bearer secret" in seen
