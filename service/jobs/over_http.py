"""Classify files by a running service, as bulk work that waits for routine work."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Self

from client import AsyncHalClient, HalError
from service.jobs.exit_codes import JobError
from service.jobs.files import ImageFile
from service.jobs.records import Record, record_of


class OverHttp:
    """A service, connected to while it is a context.

    Raises:
        JobError: the address, a proxy's or the certificates cannot be used.
    """

    stamp = None

    def __init__(self, url: str, api_key: str | None, *, images_per_request: int, concurrency: int) -> None:
        try:
            self._client = AsyncHalClient(url, api_key=api_key, priority="bulk")
        except ValueError as error:
            raise JobError(f"--url: {error}") from error
        self._url = url
        self._images_per_request = images_per_request
        self._concurrency = concurrency

    async def __aenter__(self) -> Self:
        """Ask for the service once: when the work has begun, one that restarts is waited for."""
        if (why := await self._client.why_not_ready()) is not None:
            await self._client.close()
            raise JobError(
                f"no service is ready at {self._url}: {why}. Start one with 'hal serve', wait for it, correct --url, "
                "or leave --url out to classify in this process"
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def records(self, files: Sequence[ImageFile]) -> AsyncGenerator[Record, None]:
        """A record for each file, in their order.

        Raises:
            JobError: the service does not take a request.
        """
        found = self._client.classify_many(
            (file.path for file in files), images_per_request=self._images_per_request, concurrency=self._concurrency
        )
        async with contextlib.aclosing(found):
            try:
                async for outcome in found:
                    model = outcome.model.document if outcome.model is not None else None
                    threshold = None if outcome.hairy_rule is None else outcome.hairy_rule.threshold
                    yield record_of(files[outcome.index], outcome.result.document, model, threshold)
            except HalError as error:
                raise JobError(str(error)) from error
