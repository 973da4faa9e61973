"""Classify files by a running service, as bulk work that waits for routine work."""

import contextlib
from collections.abc import AsyncGenerator, Sequence

from client import AsyncHalClient
from client.protocol import service_url
from service.jobs.folders.errors import FoldersError
from service.jobs.folders.files import ImageFile
from service.jobs.folders.sources import Outcome


class OverHttp:
    """A service.

    Args:
        url: where it is.
        api_key: its key, or ``None``.
        images_per_request: images in a request at most.
        concurrency: requests at once at most.

    Raises:
        ValueError: the address is not one of HTTP.
    """

    stamp = None

    def __init__(self, url: str, api_key: str | None, *, images_per_request: int, concurrency: int) -> None:
        self._url = service_url(url)
        self._api_key = api_key
        self._images_per_request = images_per_request
        self._concurrency = concurrency

    async def outcomes(self, files: Sequence[ImageFile]) -> AsyncGenerator[Outcome, None]:
        """See :class:`service.jobs.folders.sources.Source`.

        Raises:
            FoldersError: there is no service that is ready.
            client.HalError: the service does not take a request.
        """
        async with AsyncHalClient(self._url, api_key=self._api_key, priority="bulk") as hal:
            # Once the work has begun, a service that restarts is waited for; a wrong address is told at once.
            if not await hal.is_ready():
                raise FoldersError(
                    f"no service is ready at {self._url}; start one with 'hal serve', wait for it, correct --url, or "
                    "leave --url out to classify in this process"
                )
            found = hal.classify_many(
                (file.path for file in files),
                images_per_request=self._images_per_request,
                concurrency=self._concurrency,
            )
            async with contextlib.aclosing(found):
                async for outcome in found:
                    model = outcome.model.document if outcome.model is not None else None
                    yield Outcome(files[outcome.index], outcome.result.document, model)
