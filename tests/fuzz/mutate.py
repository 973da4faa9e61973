"""Changes to bytes that parsers stumble over."""

from collections.abc import Sequence
from random import Random
from typing import Final

INTERESTING: Final = (
    *(b"\x00", b"\xff", b"\x7f", b"\x80", b"\x00\x00", b"\xff\xff", b"\x7f\xff", b"\x80\x00"),
    *(b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\x7f"),
    *(b"\r\n", b"\r\n\r\n", b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"IDAT", b"IEND", b"II*\0"),
)


def mutated(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """``data`` after one to six changes; half of them in the first 512 bytes, where headers are."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 6)):
        _change(changed, others, random)
    return bytes(changed)


def _change(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    where = random.randrange(min(len(data), 512) if random.random() < 0.5 else len(data)) if data else 0
    length = min(1 << random.randrange(12), max(len(data) - where, 0))
    kind = random.randrange(8)
    if kind == 0 and data:
        data[where] ^= 1 << random.randrange(8)
    elif kind == 1 and data:
        data[where] = random.randrange(256)
    elif kind == 2:
        value = random.choice(INTERESTING)
        data[where : where + len(value)] = value
    elif kind == 3:
        del data[where:]
    elif kind == 4:
        del data[where : where + length]
    elif kind == 5:
        data[where:where] = data[where : where + length]
    elif kind == 6:
        data[where:where] = random.randbytes(random.randrange(64))
    else:
        other = random.choice(others)
        begin = random.randrange(len(other)) if other else 0
        data[where : where + length] = other[begin : begin + length]
