"""The two clients through one face, so that every test holds for both."""

import asyncio
import contextlib
import itertools
from typing import Any

import client
from client import AsyncHalClient, Classified, FhirReport, HalClient, Outcome, Retries, Slide, Summary

QUICK = Retries(attempts=50, total_s=20, first_delay_s=0.01, longest_delay_s=0.05)


def predicted(outcome: Outcome) -> str:
    """The class of an image, or the code of its refusal."""
    return outcome.result.class_name if isinstance(outcome.result, Classified) else outcome.result.code


class Ways:
    """One client after the other: ``kind`` is ``sync`` or ``async``."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def classify(
        self, url: str, *images: Any, request_id: str | None = None, client_refs: Any = None, **options: Any
    ) -> client.Answer:
        if self.kind == "sync":
            with HalClient(url, **options) as hal:
                return hal.classify(*images, request_id=request_id, client_refs=client_refs)

        async def ask() -> client.Answer:
            async with AsyncHalClient(url, **options) as hal:
                return await hal.classify(*images, request_id=request_id, client_refs=client_refs)

        return asyncio.run(ask())

    def classify_stream(self, url: str, *images: Any, most: int | None = None, **options: Any) -> list[Outcome]:
        """The first ``most`` outcomes."""
        if self.kind == "sync":
            with HalClient(url, **options) as hal, contextlib.closing(hal.classify_stream(*images)) as outcomes:
                return list(itertools.islice(outcomes, most))

        async def ask() -> list[Outcome]:
            found: list[Outcome] = []
            async with (
                AsyncHalClient(url, **options) as hal,
                contextlib.aclosing(hal.classify_stream(*images)) as outcomes,
            ):
                async for outcome in outcomes:
                    found.append(outcome)
                    if len(found) == most:
                        break
            return found

        return asyncio.run(ask())

    def classify_many(self, url: str, images: Any, options: Any = None, **bulk: Any) -> list[Outcome]:
        if self.kind == "sync":
            with HalClient(url, **(options or {})) as hal:
                return list(hal.classify_many(images, **bulk))

        async def ask() -> list[Outcome]:
            async with AsyncHalClient(url, **(options or {})) as hal:
                return [outcome async for outcome in hal.classify_many(images, **bulk)]

        return asyncio.run(ask())

    def classify_slide(self, url: str, images: Any, options: Any = None, **bulk: Any) -> Slide:
        if self.kind == "sync":
            with HalClient(url, **(options or {})) as hal:
                return hal.classify_slide(images, **bulk)

        async def ask() -> Slide:
            async with AsyncHalClient(url, **(options or {})) as hal:
                return await hal.classify_slide(images, **bulk)

        return asyncio.run(ask())

    def summarise_slide(self, url: str, results: Any, **options: Any) -> Summary:
        if self.kind == "sync":
            with HalClient(url, **options) as hal:
                return hal.summarise_slide(results)

        async def ask() -> Summary:
            async with AsyncHalClient(url, **options) as hal:
                return await hal.summarise_slide(results)

        return asyncio.run(ask())

    def slide_as_fhir(self, url: str, results: Any, **options: Any) -> FhirReport:
        if self.kind == "sync":
            with HalClient(url, **options) as hal:
                return hal.slide_as_fhir(results)

        async def ask() -> FhirReport:
            async with AsyncHalClient(url, **options) as hal:
                return await hal.slide_as_fhir(results)

        return asyncio.run(ask())
