"""What is written by msgspec is what the documented pydantic models would write."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contract.bundle import Bundle
from contract.classes import CLASS_COUNT
from contract.decision import decide
from service.http import schemas
from service.serving import answers

TEXT = st.text(max_size=30)
LOGITS = st.lists(st.floats(-1e4, 1e4), min_size=CLASS_COUNT, max_size=CLASS_COUNT)


@given(logits=st.lists(LOGITS, min_size=1, max_size=3), request_id=TEXT, code=TEXT, message=TEXT)
def test_both_write_the_same_bytes(
    bundle: Bundle, logits: list[list[float]], request_id: str, code: str, message: str
) -> None:
    stamp = schemas.ModelStamp.of(bundle, bundle.file())
    decisions = list(enumerate(decide(np.array(logits), bundle.description)))
    sha256, refused = "ab" * 32, len(decisions)
    documented = schemas.ClassifyAnswer(
        request_id=request_id,
        model=stamp,
        results=(
            *(schemas.ClassifiedImage.of(index, sha256, decision) for index, decision in decisions),
            schemas.RefusedImage(index=refused, image_sha256=sha256, error=schemas.Fault(code=code, message=message)),
        ),
    )
    written = answers.Writer(stamp).write(
        request_id,
        [
            *(answers.ClassifiedImage.of(index, sha256, decision) for index, decision in decisions),
            answers.RefusedImage(refused, sha256, answers.Fault(code, message)),
        ],
    )
    assert json.loads(written) == json.loads(documented.model_dump_json())
    assert written == documented.model_dump_json().encode()


def test_a_question_that_a_bundle_cannot_answer_is_null_in_both() -> None:
    for name in ("ClassifiedImage", "RefusedImage", "HairyCell", "Review", "Fault"):
        documented = list(getattr(schemas, name).model_fields)
        assert documented == list(getattr(answers, name).__struct_fields__), name
    hairy = answers.HairyCell(None, None, None, "Confirm.")
    documented_hairy = schemas.HairyCell(probability=None, flag=None, threshold=None, advice="Confirm.")
    assert answers.json.encode(hairy) == documented_hairy.model_dump_json().encode()
