"""The answers and the one JSON request about slides, as OpenAPI describes them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from contract.slide import SlideSummary
from service.http.schemas import ClassifyAnswer, ModelStamp
from service.slides.results import GivenSlide


class SlideAnswer(ClassifyAnswer):
    """The answer to ``POST /slides/classify``: what ``POST /classify`` answers, and what the cells say together."""

    summary: SlideSummary


class SummaryAnswer(BaseModel):
    """The answer to ``POST /slides/summary``."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    request_id: str
    model: Annotated[ModelStamp, Field(description="The bundle whose evidence and rate of false flags were used.")]
    summary: SlideSummary


def given_slide_schema() -> dict[str, Any]:
    """JSON Schema of a request to ``POST /slides/summary``, without references, since the body is read by hand."""
    schema = GivenSlide.model_json_schema()
    definitions = schema.pop("$defs")

    def resolved(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return resolved(definitions[part["$ref"].rpartition("/")[2]])
            return {key: resolved(value) for key, value in part.items()}
        return [resolved(item) for item in part] if isinstance(part, list) else part

    inlined: dict[str, Any] = resolved(schema)
    return inlined
