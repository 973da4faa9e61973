"""``POST /classify``: images in, for each its own answer."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.bundle import Bundle
from contract.classes import BY_ID, CLASS_NAMES, HAIRY_CELL
from contract.decision import decide
from tests.service.classify_requests import error_of, form
from tests.service.live_server import LiveServer, serving
from tests.service.tiny_bundle import TinyNetwork, encoded

EOSINOPHIL = 1


@pytest.fixture(scope="module")
def cell(network: TinyNetwork) -> bytes:
    return encoded(network.cell(EOSINOPHIL), "PNG")


def test_one_image_in_a_form(live: LiveServer, bundle: Bundle, network: TinyNetwork, cell: bytes) -> None:
    response = live.http.post("/classify", files=form(cell))
    assert response.status_code == 200
    answer = response.json()
    assert answer["request_id"] == response.headers["x-request-id"]
    assert answer["model"] == {
        "name": "tiny",
        "version": "1.2.3",
        "sha256": bundle.file().sha256,
        "precision": "float32",
        "intended_use": "For tests.",
        "decision_policy": "p-1",
        "calibration": "t-1",
        "preprocessing": "1",
    }
    (result,) = answer["results"]
    (expected,) = decide(network.logits(network.cell(EOSINOPHIL)[np.newaxis]), bundle.description)
    assert answer["hairy_cell"] == {"threshold": 0.4, "advice": "Confirm by flow cytometry."}
    assert list(result) == [
        "class_id",
        "class_name",
        "confidence",
        "candidates",
        "hairy_cell",
        "review",
        "novelty",
        "probabilities",
        "index",
        "client_ref",
        "image_sha256",
    ]
    probabilities = result["probabilities"]
    assert list(probabilities) == list(BY_ID)
    assert [*probabilities.values()] == [round(each, 6) for each in expected.probabilities]
    assert (result["class_id"], result["class_name"]) == ("eosinophil", "Eosinophil")
    assert result["confidence"] == probabilities["eosinophil"] == max(probabilities.values())
    assert result["candidates"] == [
        {"class_id": cell_class.id, "probability": probabilities[cell_class.id]} for cell_class in expected.candidates
    ]
    assert result["hairy_cell"] == {"probability": probabilities["hairy-cell"], "flag": False}
    assert result["review"] == []
    assert result["novelty"] is None, "this bundle cannot tell"
    assert (result["index"], result["client_ref"]) == (0, "0.png")
    assert result["image_sha256"] == hashlib.sha256(cell).hexdigest()
    assert response.content.endswith(b"}\n")


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "tiff"])
def test_a_raw_body_of_each_type(live: LiveServer, network: TinyNetwork, kind: str) -> None:
    image = encoded(network.cell(EOSINOPHIL), kind.upper())
    response = live.http.post("/classify", content=image, headers={"Content-Type": f"image/{kind}"})
    assert response.status_code == 200
    assert response.json()["results"][0]["class_name"] == "Eosinophil"


def test_the_bytes_decide_and_not_the_declared_type(live: LiveServer, cell: bytes) -> None:
    response = live.http.post("/classify", content=cell, headers={"Content-Type": "image/tiff; x=y"})
    assert response.status_code == 200


def test_a_hairy_cell_is_flagged_and_reviewed(live: LiveServer, network: TinyNetwork) -> None:
    (result,) = live.http.post("/classify", files=form(encoded(network.cell(HAIRY_CELL.index)))).json()["results"]
    assert result["class_name"] == "Hairy cell"
    assert result["hairy_cell"]["flag"] is True
    assert {reason["code"] for reason in result["review"]} >= {"hairy_cell", "must_confirm"}


def test_a_bundle_without_hairy_cells_answers_null_and_not_no(
    tmp_path: Path, write_bundle: Any, network: TinyNetwork
) -> None:
    with serving(write_bundle(tmp_path, hairy_known=False)) as live:
        answer = live.http.post("/classify", files=form(encoded(network.cell(HAIRY_CELL.index)))).json()
    assert answer["hairy_cell"] == {"threshold": None, "advice": "Confirm by flow cytometry."}
    assert answer["results"][0]["hairy_cell"] == {"probability": None, "flag": None}
    assert answer["results"][0]["probabilities"]["hairy-cell"] == 0


def test_images_are_called_what_the_client_calls_them(live: LiveServer, cell: bytes) -> None:
    def refs(*parts: tuple[str, tuple[str | None, bytes]]) -> list[str | None]:
        answer = live.http.post("/classify", files=[*parts]).json()
        return [result["client_ref"] for result in answer["results"]]

    first, second = ("file", ("1 é.png", cell)), ("file", ("2.png", b"no image"))
    assert refs(first, second) == ["1 é.png", "2.png"]
    named: tuple[str, tuple[None, bytes]] = ("client_ref", (None, "Fall 12/é".encode()))
    assert refs(named, first, second, ("client_ref", (None, b""))) == ["Fall 12/é", None]
    raw = live.http.post("/classify", content=cell, headers={"Content-Type": "image/png"}).json()
    assert raw["results"][0]["client_ref"] is None


def test_references_that_do_not_fit_are_refused(live: LiveServer, cell: bytes) -> None:
    named = ("client_ref", (None, b"x"))
    response = live.http.post("/classify", files=[("file", ("1.png", cell)), named, named])
    assert "2 fields 'client_ref' for 1 files" in error_of(response, 400)["message"]
    long = live.http.post("/classify", files=[("file", ("x" * 257, cell))])
    assert error_of(long, 400)["code"] == "reference_too_long"


def test_many_images_are_answered_in_order(live: LiveServer, network: TinyNetwork) -> None:
    classes = [(7 * place) % 20 for place in range(40)]
    response = live.http.post("/classify", files=form(*(encoded(network.cell(index)) for index in classes)))
    results = response.json()["results"]
    assert [result["index"] for result in results] == list(range(40))
    assert [result["class_name"] for result in results] == [CLASS_NAMES[index] for index in classes]


def test_a_bad_image_has_its_own_error_and_the_others_their_answers(live: LiveServer, cell: bytes) -> None:
    small = encoded(np.zeros((100, 100, 3), np.uint8))
    response = live.http.post("/classify", files=form(cell, small, b"", cell))
    assert response.status_code == 200
    first, wrong_size, empty, last = response.json()["results"]
    assert first["class_name"] == last["class_name"] == "Eosinophil"
    assert list(wrong_size) == ["error", "index", "client_ref", "image_sha256"]
    assert wrong_size["error"]["code"] == "wrong_size"
    assert "100x100" in wrong_size["error"]["message"]
    assert empty["error"]["code"] == "empty_image"


def test_422_if_not_one_image_could_be_classified(live: LiveServer, cell: bytes) -> None:
    response = live.http.post("/classify", files=form(b"GIF89a", cell[:200]))
    assert response.status_code == 422
    assert [result["error"]["code"] for result in response.json()["results"]] == ["unsupported_type", "truncated_image"]
    raw = live.http.post("/classify", content=b"", headers={"Content-Type": "image/png"})
    assert raw.status_code == 422
    assert raw.json()["results"][0]["error"]["code"] == "empty_image"


def test_concurrent_clients_get_their_own_answers(live: LiveServer, network: TinyNetwork) -> None:
    images = [encoded(network.cell(index)) for index in range(20)]

    def classify(place: int) -> str:
        response = live.http.post("/classify", files=form(images[place % 20]))
        return str(response.json()["results"][0]["class_name"])

    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(classify, range(200)))
    assert answers == [CLASS_NAMES[place % 20] for place in range(200)]
