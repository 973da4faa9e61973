"""The structure of a JPEG file (ITU-T T.81): what its frame declares and whether its scans deliver it.

libjpeg paints over what is missing, mostly without a word, so a decoder's success does not say that an image is whole.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from contract.refusals import ImageRefusedError, RefusalCode

_SEGMENT: Final = struct.Struct(">BBH")
_FRAME: Final = struct.Struct(">BBHBHHB")
_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
"""What begins a segment or ends the file: not a byte 255 of pixels, TEM or a restart, which have no segment."""
_EXTRANEOUS: Final = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
"""libjpeg's warning (JWRN_EXTRANEOUS_DATA) of bytes between the last pixel and the end marker."""
_END: Final = 0xD9
_SCAN: Final = 0xDA
_JFIF: Final = 0xE0
_LIST: Final = 0xE2
_ADOBE: Final = 0xEE
_NO_SEGMENT: Final = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xD8)})
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN: Final = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive."""
_ARITHMETIC: Final = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
PROGRESSIVE: Final = 0xC2
"""The marker of a frame that comes in several scans, from coarse to fine."""
_COEFFICIENTS: Final = 64
_MOST_SEGMENTS: Final = 4096
_MOST_SCANS: Final = 128
"""Far more than any encoder writes; each costs a pass over all pixels, however short it is."""
_MULTI_PICTURE: Final = b"MPF\0"
"""Begins the segment that lists the other pictures of a file (CIPA DC-007)."""


class Header(NamedTuple):
    """What a file says before its first pixel.

    Attributes:
        bits: of each channel.
        components: the identifiers of its channels.
        process: the marker of its frame, which names how it is coded.
        interleaved: whether its first scan has all channels.
        lists_pictures: whether it says that it has others.
    """

    width: int
    height: int
    bits: int
    components: bytes
    process: int
    interleaved: bool
    lists_pictures: bool


class _Segment(NamedTuple):
    kind: int
    marker: int
    begin: int
    end: int


def read_header(data: bytes) -> Header:
    """Read a file up to its first scan.

    Raises:
        ImageRefusedError: the file is cut or damaged there, or coded in a way whose damage cannot be seen.
    """
    frame, lists_pictures = -1, False
    place = 2
    try:
        for _ in range(_MOST_SEGMENTS):
            mark, kind, size = _SEGMENT.unpack_from(data, place)
            if mark != 0xFF or kind in _NO_SEGMENT:  # Bytes that fill, or that libjpeg warns of.
                found = _MARKER.search(data, place)
                place = len(data) if found is None else found.start()
            elif kind == _SCAN and frame >= 0:
                return _read_frame(data, frame, place + 4, lists_pictures=lists_pictures)
            elif kind in (_SCAN, _END):
                raise _damaged("its header is damaged: no frame comes before its first scan")
            else:
                if kind in _FRAMES and frame < 0:
                    frame = place
                elif kind == _LIST and data.startswith(_MULTI_PICTURE, place + 4):
                    lists_pictures = True
                place += 2 + size
    except struct.error:
        raise _cut("its header") from None
    raise _damaged(f"its header has more than {_MOST_SEGMENTS} segments")


def _read_frame(data: bytes, frame: int, scan: int, *, lists_pictures: bool) -> Header:
    _, process, _, bits, height, width, count = _FRAME.unpack_from(data, frame)
    header = Header(
        width=width,
        height=height,
        bits=bits,
        components=data[frame + 10 : frame + 10 + 3 * count : 3],
        process=process,
        interleaved=data[scan : scan + 1] == data[frame + 9 : frame + 10],
        lists_pictures=lists_pictures,
    )
    if process not in _HUFFMAN:
        coding = "arithmetic" if process in _ARITHMETIC else "lossless or hierarchical"
        raise ImageRefusedError(
            RefusalCode.UNSUPPORTED_TYPE,
            f"The JPEG image has {coding} coding, of which it cannot be seen whether it is whole; expected baseline or "
            "progressive with Huffman coding: save it as an ordinary JPEG or as PNG.",
        )
    if not height:
        raise ImageRefusedError(
            RefusalCode.UNSUPPORTED_TYPE,
            "The JPEG image gives its height only behind its pixels (DNL), expected in its header; save it again as an "
            "ordinary JPEG or as PNG.",
        )
    if not width:
        raise _damaged("its header declares a width of 0")
    return header


def check_complete(data: bytes, header: Header) -> None:
    """Find out whether there is an end marker, and scans for every bit of every coefficient before it.

    Bits that are missing within a scan are libjpeg's to find.

    Raises:
        ImageRefusedError: ``TRUNCATED``.
    """
    scans = 0
    missing_bits = {component: [True] * _COEFFICIENTS for component in header.components}
    for kind, _, begin, end in _segments(data):
        if kind == _SCAN:
            scans += 1
            if scans > _MOST_SCANS:
                raise _damaged(f"it has more than {_MOST_SCANS} scans")
            first, last, low = _spectrum(data, begin, end, header)
            for component in data[begin + 1 : end - 3 : 2]:
                if component in missing_bits:
                    missing_bits[component][first : last + 1] = [low > 0] * (last + 1 - first)
        elif kind == _END:
            if any(map(any, missing_bits.values())):
                raise _cut("some of its scans")
            return
    raise _cut("its end, the end marker included,")


def _spectrum(data: bytes, begin: int, end: int, header: Header) -> tuple[int, int, int]:
    """First and last coefficient of a scan and its lowest bit (Ss, Se, Al), which only progressive files choose."""
    if header.process != PROGRESSIVE or end - begin < 6:
        return 0, _COEFFICIENTS - 1, 0
    first, last, approximation = data[end - 3 : end]
    return first, min(last, _COEFFICIENTS - 1), approximation & 15


def without_remarks(data: bytes, header: Header) -> bytes:
    """The file with the values of its header that libjpeg warns of and ignores set to the usual ones.

    These are the spectrum of a sequential scan (many cameras write 0 to 0), and unknown versions of JFIF and of Adobe's
    colours. They matter since libjpeg shows its first warning only.
    """
    quiet = bytearray(data)
    for kind, _, begin, end in _segments(data):
        if kind == _SCAN and header.process != PROGRESSIVE and end - begin >= 6:
            quiet[end - 3 : end] = 0, _COEFFICIENTS - 1, 0
        elif kind == _JFIF and data.startswith(b"JFIF\0", begin) and end - begin >= 14:
            quiet[begin + 5] = 1
        elif kind == _ADOBE and data.startswith(b"Adobe", begin) and end - begin >= 12:
            quiet[begin + 11] = min(data[begin + 11], 1)
    return bytes(quiet)


def is_padded(data: bytes, warning: str) -> bool:
    """Whether libjpeg's warning is of one byte, many times over, between the last pixel and the end marker.

    Other bytes there are pixels that a damaged file could not place.
    """
    found = _EXTRANEOUS.fullmatch(warning)
    end = next((segment.marker for segment in _segments(data) if segment.kind == _END), None)
    if found is None or end is None:
        return False
    count, body = int(found[1]), data[:end].rstrip(b"\xff")
    return body[-count:] == body[-1:] * count


def _segments(data: bytes) -> Iterator[_Segment]:
    """The segments behind the first marker up to the end marker; fewer where the file is cut or has far too many."""
    place = 2
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, place)
        if found is None:
            return
        place = found.end()
        kind = data[place - 1]
        if kind == _END:
            yield _Segment(kind, found.start(), place, place)
            return
        size = int.from_bytes(data[place : place + 2])
        if size < 2 or place + size > len(data):
            return
        yield _Segment(kind, found.start(), place + 2, place + size)
        place += size


def _damaged(reason: str) -> ImageRefusedError:
    return ImageRefusedError(RefusalCode.CORRUPT, f"The JPEG image is damaged ({reason}); export or upload it again.")


def _cut(missing: str) -> ImageRefusedError:
    return ImageRefusedError(
        RefusalCode.TRUNCATED, f"The JPEG image is cut: {missing} is missing; export or upload it again."
    )
