"""Where images are classified: in this process, or by a running service. Both give the same documents."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from service.jobs.folders.files import ImageFile

UNREADABLE: Final = "unreadable_file"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: a result as ``POST /classify`` gives it, and the model unless no network saw it."""

    file: ImageFile
    result: Mapping[str, Any]
    model: Mapping[str, Any] | None


def refusal(code: str, message: str) -> dict[str, Any]:
    """The result of a file that no network saw, in the form that ``POST /classify`` gives it."""
    return {"image_sha256": "", "error": {"code": code, "message": message}}


class Source(Protocol):
    """Classifies files."""

    @property
    def stamp(self) -> tuple[str, ...] | None:
        """The model's, if it is known beforehand."""
        ...

    def outcomes(self, files: Sequence[ImageFile]) -> AsyncGenerator[Outcome, None]:
        """An outcome for each file, in their order."""
        ...
