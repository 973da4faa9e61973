"""Unfamiliar images over real HTTP: in answers, on slides, in metrics, for clients of tensors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from contract.bundle import Bundle
from contract.decision import calibrated_probabilities
from tests.service.classify_requests import form
from tests.service.live_server import LiveServer, serving
from tests.service.tiny_bundle import TinyNetwork, encoded


@pytest.fixture(scope="module")
def live(familiar: Bundle) -> Iterator[LiveServer]:
    with serving(familiar, max_batch=4, max_json_bytes=100_000_000) as server:
        yield server


@pytest.fixture(scope="module")
def sums(network: TinyNetwork) -> Any:
    """What the embedding of each class is made of."""
    return network.colours.sum(axis=1, dtype=float)


def expected(network: TinyNetwork, familiar: Bundle, sums: Any) -> Any:
    """Calibrated probabilities of the 20 classes' images, each by the temperature that it gets."""
    temperature = np.where(sums > np.median(sums), 30.0, familiar.description.calibration.temperature)
    logits = network.logits(np.stack([network.cell(index) for index in range(20)]))
    return calibrated_probabilities(logits, temperature[:, None], familiar.description.suppressed)


def test_each_answer_has_its_novelty_and_unfamiliar_images_softer_probabilities(
    live: LiveServer, familiar: Bundle, network: TinyNetwork, sums: Any
) -> None:
    before = counted(live)
    images = [encoded(network.cell(index)) for index in range(20)]
    results = live.http.post("/classify", files=form(*images)).raise_for_status().json()["results"]
    scores = [result["novelty"]["score"] for result in results]
    np.testing.assert_allclose(scores, sums / np.median(sums), rtol=1e-3)
    unfamiliar = [result["novelty"]["unfamiliar"] for result in results]
    assert unfamiliar == [score > 1 for score in scores]
    assert (
        [result["review"][:1] == [] or result["review"][0]["code"] for result in results].count("unfamiliar_image")
        == sum(unfamiliar)
        == 10
    )
    given = [list(result["probabilities"].values()) for result in results]
    np.testing.assert_allclose(given, expected(network, familiar, sums), atol=1e-6)
    assert counted(live) - before == 10


def counted(live: LiveServer) -> float:
    lines = live.http.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("hal_images_unfamiliar_total "))


def test_tensors_get_the_same_probabilities_as_images(
    live: LiveServer, familiar: Bundle, network: TinyNetwork, sums: Any
) -> None:
    chosen = [int(sums.argmin()), int(sums.argmax())]
    pixels = np.stack([network.cell(index) for index in chosen])
    tensor = {"name": "image", "shape": pixels.shape, "datatype": "UINT8", "data": pixels.ravel().tolist()}
    answer = live.http.post("/v2/models/tiny/infer", json={"inputs": [tensor]}).raise_for_status().json()
    outputs = {output["name"]: np.reshape(output["data"], output["shape"]) for output in answer["outputs"]}
    assert set(outputs) == {"logits", "probabilities"}
    np.testing.assert_allclose(outputs["probabilities"], expected(network, familiar, sums)[chosen], atol=1e-6)


def test_a_slide_of_unfamiliar_images_gets_no_other_advice_and_says_it_again_of_its_saved_results(
    live: LiveServer, network: TinyNetwork, sums: Any
) -> None:
    answer = live.http.post("/slides/classify", files=form(*_cells(network, int(sums.argmax()), 30))).json()
    summary = answer["summary"]
    assert summary["advice"] == "not supported on these images"
    assert (summary["unfamiliar"]["unfamiliar"], summary["unfamiliar"]["images"]) == (30, 30)
    told = live.http.post("/slides/summary", json={"model": answer["model"], "results": answer["results"]})
    assert told.json()["summary"] == summary


def test_results_without_their_novelty_are_not_summarised_as_if_they_were_familiar(
    live: LiveServer, network: TinyNetwork, sums: Any
) -> None:
    answer = live.http.post("/classify", files=form(*_cells(network, int(sums.argmax()), 3))).json()
    for result in answer["results"]:
        del result["novelty"]
    told = live.http.post("/slides/summary", json=answer)
    assert (told.status_code, told.json()["error"]["code"]) == (409, "other_model")
    assert "novelty.unfamiliar" in told.json()["error"]["message"]


def _cells(network: TinyNetwork, index: int, count: int) -> list[bytes]:
    images = []
    for number in range(count):
        pixels = network.cell(index).copy()
        pixels[0, 0] = number
        images.append(encoded(pixels))
    return images
