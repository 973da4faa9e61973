"""What a worker and the engine process tell each other, in MessagePack.

A request is named by a number that its worker chooses, an image by its place in the request.
"""

from typing import Final, TypeAlias

from msgspec import Struct, msgpack

from service.engine.tuning import Tuning


class Open(Struct, frozen=True, array_like=True, tag=1):
    """To the engine: a request wants seats.

    Attributes:
        request: its number.
        images: how many it has.
        model: the number of the model that it wants.
        priority: of all its images.
        due_in_s: seconds until its answer is of no use; ``None``: only the deadline of each image counts.
        request_id, key, trace_id: for the log.
        traceparent: where its spans belong, if spans are made.
    """

    request: int
    images: int
    model: int
    priority: str
    due_in_s: float | None
    request_id: str
    key: str | None
    trace_id: str | None
    traceparent: str | None


class Submit(Struct, frozen=True, array_like=True, tag=2):
    """To the engine: an image that has a seat is in a slot; ``embedding`` asks for more than logits."""

    request: int
    index: int
    slot: int
    embedding: bool


class Settled(Struct, frozen=True, array_like=True, tag=3):
    """To the engine: an image that had a seat does not need the network, since it was refused."""

    request: int
    index: int


class Withdraw(Struct, frozen=True, array_like=True, tag=4):
    """To the engine: nobody waits for the request any more."""

    request: int


class Rows(Struct, frozen=True, array_like=True, tag=5):
    """To the engine: rows of the audit trail, each as :meth:`service.observe.audit.rows.Row.to_json` writes it."""

    lines: tuple[str, ...]


class Reload(Struct, frozen=True, array_like=True, tag=6):
    """To the engine: somebody asked for another bundle; ``call`` comes back in the answer."""

    call: int


class Serves(Struct, frozen=True, array_like=True, tag=7):
    """To the engine: every request from here on wants this model."""

    model: int


class Model(Struct, frozen=True, array_like=True, tag=21):
    """To a worker: what serves from now on; the first one is the welcome.

    Attributes:
        number: names it.
        root: folder of the bundle.
        manifest: its ``bundle.json``.
        device: what it runs on.
        max_batch: most images in a batch.
        tuning: why.
    """

    number: int
    root: str
    manifest: str
    device: str
    max_batch: int
    tuning: Tuning | None


class Revised(Struct, frozen=True, array_like=True, tag=29):
    """To a worker: the model that serves makes batches of another size from now on."""

    number: int
    tuning: Tuning


class Grant(Struct, frozen=True, array_like=True, tag=22):
    """To a worker: an image has a seat."""

    request: int
    index: int


class Taken(Struct, frozen=True, array_like=True, tag=23):
    """To a worker: these slots have been read."""

    slots: tuple[int, ...]


class Answer(Struct, frozen=True, array_like=True, tag=24):
    """To a worker: float32 of the logits, followed by the embedding where it was asked for."""

    request: int
    index: int
    row: bytes


class Failed(Struct, frozen=True, array_like=True, tag=25):
    """To a worker: the network failed on this image."""

    request: int
    index: int


class Refused(Struct, frozen=True, array_like=True, tag=26):
    """To a worker: a request ended without an answer; ``kind`` says how, see :mod:`service.workers.endings`."""

    request: int
    kind: str
    text: str | None = None
    taken: int = 0
    retry_after_s: int = 0


class RowsTaken(Struct, frozen=True, array_like=True, tag=27):
    """To a worker: so many rows more are in the engine's hands, or on their way to the database."""

    count: int


class Reloaded(Struct, frozen=True, array_like=True, tag=28):
    """To a worker: a reload has ended; two :class:`service.http.schemas.ModelStamp`, or how it was refused."""

    call: int
    before: str = ""
    now: str = ""
    kind: str = ""
    text: str = ""


ToEngine: TypeAlias = Open | Submit | Settled | Withdraw | Rows | Reload | Serves
ToWorker: TypeAlias = Model | Revised | Grant | Taken | Answer | Failed | Refused | RowsTaken | Reloaded

encoder: Final = msgpack.Encoder()
"""Of a list of messages."""
to_engine: Final = msgpack.Decoder(list[ToEngine])
to_worker: Final = msgpack.Decoder(list[ToWorker])
