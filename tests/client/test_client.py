"""The clients against the real service: what they send, and what they make of its answers."""

import asyncio
from pathlib import Path

import pytest
from PIL import Image

from client import AnswerError, AsyncHalClient, Classified, HalClient, Refused, RefusedRequestError
from contract.classes import BY_ID
from tests.client.faulty_road import FaultyRoad
from tests.client.ways import Ways
from tests.service.live_server import LiveServer
from tests.service.tiny_bundle import TinyNetwork, encoded


def test_images_are_paths_bytes_pillow_s_and_arrays_and_may_be_in_a_list(
    ways: Ways, live: LiveServer, network: TinyNetwork, tmp_path: Path
) -> None:
    pixels = network.cell(11)
    path = tmp_path / "cell.png"
    path.write_bytes(encoded(pixels))
    answer = ways.classify(live.url, [path, str(path)], path.read_bytes(), (Image.fromarray(pixels), pixels))
    assert [result.class_id for result in answer.results if isinstance(result, Classified)] == ["hairy-cell"] * 5
    for wrong in (pixels[..., 0], pixels.astype(float), 3):
        with pytest.raises(TypeError, match=r"an image is .*, expected a path"):
            ways.classify(live.url, wrong)


def test_results_repeat_what_the_images_are_called(ways: Ways, live: LiveServer, cells: list[bytes]) -> None:
    answer = ways.classify(live.url, cells[:2], client_refs=["4711/1", "4711/é"])
    assert [result.client_ref for result in answer.results] == ["4711/1", "4711/é"]


def test_an_answer_is_typed_and_keeps_the_document(ways: Ways, live: LiveServer, cells: list[bytes]) -> None:
    answer = ways.classify(live.url, cells[11], b"GIF89a", request_id="mine-1")
    assert answer.request_id == "mine-1"
    assert (answer.model.name, answer.model.version) == ("tiny", "1.2.3")
    first, second = answer.results
    assert isinstance(first, Classified)
    assert (first.class_id, first.class_name) == ("hairy-cell", "Hairy cell")
    assert list(first.probabilities) == list(BY_ID)
    assert first.confidence == max(first.probabilities.values()) == first.candidates[0].probability
    assert first.hairy_cell.flag is True
    assert "hairy_cell" in {reason.code for reason in first.review}
    assert first.document["index"] == 0
    assert isinstance(second, Refused)
    assert second.code == "unsupported_type"


def test_images_none_of_which_is_classified_are_an_answer_too(ways: Ways, live: LiveServer) -> None:
    (result,) = ways.classify(live.url, b"GIF89a").results
    assert isinstance(result, Refused)


def test_paths_are_read_and_their_names_stay_here(
    ways: Ways, live: LiveServer, road: FaultyRoad, cells: list[bytes], tmp_path: Path
) -> None:
    path = tmp_path / "patient-4711.png"
    path.write_bytes(cells[3])
    road.upstream = live.port
    for source in (path, str(path)):
        (result,) = ways.classify(road.url, source).results
        assert isinstance(result, Classified)
        assert result.class_name == "Lymphocyte"
    assert b"4711" not in road.received


def test_a_missing_file_is_the_caller_s_error(ways: Ways, live: LiveServer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ways.classify(live.url, tmp_path / "nothing.png")


def test_key_priority_and_deadline_are_sent(ways: Ways, live: LiveServer, road: FaultyRoad, cells: list[bytes]) -> None:
    road.upstream = live.port
    ways.classify(road.url, cells[0], api_key="secret", priority="bulk", deadline_s=2.5)
    head = bytes(road.received).lower()
    assert b"authorization: bearer secret\r\n" in head
    assert b"x-priority: bulk\r\n" in head
    assert b"x-request-timeout-ms: 2500\r\n" in head


def test_a_wrong_request_is_not_repeated(ways: Ways, live: LiveServer, road: FaultyRoad) -> None:
    road.upstream = live.port
    with pytest.raises(RefusedRequestError, match="415 unsupported_media_type") as caught:
        ways.classify(road.url)
    assert caught.value.request_id
    assert len(road.request_ids) == 1


def test_another_service_is_told_apart(ways: Ways, live: LiveServer, cells: list[bytes]) -> None:
    with pytest.raises((AnswerError, RefusedRequestError)):
        ways.classify(f"{live.url}/docs", cells[0])


def test_the_model_and_readiness_can_be_asked(live: LiveServer, road: FaultyRoad) -> None:
    with HalClient(live.url) as hal:
        assert hal.is_ready()
        assert hal.model()["name"] == "tiny"
    with HalClient(road.url) as nobody:
        assert not nobody.is_ready()

    async def ask() -> tuple[bool, str, bool]:
        async with AsyncHalClient(live.url) as hal, AsyncHalClient(road.url) as nobody:
            return await hal.is_ready(), (await hal.model())["name"], await nobody.is_ready()

    assert asyncio.run(ask()) == (True, "tiny", False)
