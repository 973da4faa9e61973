"""A client of HAL's HTTP interface: httpx and the standard library, nothing of the rest of the project.

Copy this folder into a project of your own under any name (that is why its imports are relative)
and install httpx::

    from client import HalClient

    with HalClient("http://127.0.0.1:8000", api_key="...") as hal:
        for outcome in hal.classify_many(Path("smear").glob("*.jpg")):
            print(outcome.source, outcome.result)
        slide = hal.classify_slide(Path("smear").glob("*.jpg"))
        print(slide.summary.advice, slide.summary.reason)
        print(hal.slide_as_fhir(slide.outcomes).document)

:class:`AsyncHalClient` has the same methods for asyncio.
"""

from .aio import AsyncHalClient
from .answers import (
    Answer,
    Candidate,
    Classified,
    HairyCell,
    HairyRule,
    ImageNovelty,
    Model,
    Outcome,
    Refused,
    Result,
    Review,
)
from .errors import AnswerError, HalError, OtherModelError, RefusedRequestError, UnavailableError
from .images import Source
from .retry import Retries
from .slides import ClassCount, FhirReport, HairyCount, Slide, Summary, UnfamiliarCount
from .sync import HalClient

__all__ = [
    "Answer",
    "AnswerError",
    "AsyncHalClient",
    "Candidate",
    "ClassCount",
    "Classified",
    "FhirReport",
    "HairyCell",
    "HairyCount",
    "HairyRule",
    "HalClient",
    "HalError",
    "ImageNovelty",
    "Model",
    "OtherModelError",
    "Outcome",
    "Refused",
    "RefusedRequestError",
    "Result",
    "Retries",
    "Review",
    "Slide",
    "Source",
    "Summary",
    "UnavailableError",
    "UnfamiliarCount",
]
