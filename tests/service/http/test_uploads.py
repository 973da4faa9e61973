import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from service.batching.admission import RequestOptions
from service.errors import RequestError
from service.http import forms
from service.http.forms import Uploaded
from service.http.uploads import read_images
from service.settings import Settings

FILES = st.lists(st.binary(max_size=200).filter(lambda file: b"\r\n--bb" not in b"\r\n" + file), min_size=1, max_size=5)
SETTINGS = Settings(max_upload_bytes=10_000)


def request(chunks: Sequence[bytes], content_type: bytes = b"multipart/form-data; boundary=bb") -> Request:
    """A request whose body arrives in these chunks."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    remaining = iter([*messages, {"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        return next(remaining)

    return Request({"type": "http", "headers": [(b"content-type", content_type)]}, receive)


def read(chunks: Sequence[bytes], **options: bytes) -> list[bytes]:
    return [image.data for image in uploads(chunks, **options)]


def uploads(chunks: Sequence[bytes], **options: bytes) -> list[Uploaded]:
    return asyncio.run(read_images(request(chunks, **options), SETTINGS, RequestOptions()))


def body_of(files: Sequence[bytes], filename: bytes = b'filename="x"') -> bytes:
    head = b'--bb\r\nContent-Disposition: form-data; name="file"; %s\r\nContent-Type: image/png\r\n\r\n' % filename
    return b"".join(head + file + b"\r\n" for file in files) + b"--bb--\r\n"


@given(files=FILES, cuts=st.lists(st.integers(0, 2000), max_size=20))
def test_files_arrive_whole_however_the_network_cuts_them(files: list[bytes], cuts: list[int]) -> None:
    body = body_of(files)
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    assert read([body[start:end] for start, end in itertools.pairwise(edges)]) == files


@pytest.mark.parametrize("filename", [b'filename=""', b"filename*=utf-8''z%C3%A9ro.png", b'FILENAME="a; b.png"'])
def test_a_file_may_have_any_name(filename: bytes) -> None:
    assert read([body_of([b"image"], filename)]) == [b"image"]


@pytest.mark.parametrize(
    "written",
    [
        b"filename*=utf-8''z%C3%A9ro.png",
        b"filename*=\"UTF-8''z%C3%A9ro.png\"",
        b"filename*=UTF-8'en'z%C3%A9ro.png; x=y",
    ],
)
def test_an_extended_name_is_what_the_image_is_called(written: bytes) -> None:
    """As requests with urllib3 1, and Postman, write names that are not ASCII."""
    assert uploads([body_of([b"image"], written)]) == [Uploaded(b"image", "z\u00e9ro.png")]


@given(st.data())
def test_a_form_that_is_cut_off_is_refused_even_between_two_files(data: st.DataObject) -> None:
    body = body_of([b"one", b"two"])
    end = data.draw(st.integers(0, len(body) - len(b"--\r\n")))
    with pytest.raises(RequestError) as caught:
        read([body[:end]])
    assert caught.value.code == "broken_form"


@given(st.data())
def test_a_damaged_form_gives_files_or_a_refusal(data: st.DataObject) -> None:
    body = bytearray(body_of([b"one", b"two"]))
    for place in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=6)):
        body[place] = data.draw(st.integers(0, 255))
    try:
        files = read([bytes(body[: data.draw(st.integers(0, len(body)))])])
    except RequestError as error:
        assert error.status in (400, 413)
    else:
        assert 1 <= len(files) <= 2


HEADS = st.lists(
    st.sampled_from(
        [
            b'Content-Disposition: form-data; name="file"; filename="a b;c.png"',
            b'content-disposition: form-data; name="file"; filename="\xc3\xa9.png"',
            b"Content-Disposition: form-data; name=file; filename=x.png",
            b'Content-Disposition: form-data; name="file"; filename="a\\"b"',
            b'Content-Disposition: form-data; name="files"; filename="x"',
            b'Content-Disposition: form-data; name="client_ref"',
            b'Content-Disposition: form-data; name=client_ref; filename="x"',
            b'Content-Disposition: form-data; name="file"',
            b"Content-Type: image/png",
            b"Content-Type: application/octet-stream; x=y",
            b"Content-Length: 7",
            b"Content-Transfer-Encoding: binary",
            b"X: ",
            b"broken",
            b"",
        ]
    ),
    max_size=3,
)
PARTS = st.lists(
    st.tuples(HEADS, st.sampled_from([b"", b"x", b"\r\n", b"\r\n--b", b"--bb", b"\r\n\r\n", bytes(9)])), max_size=4
)


@given(
    parts=PARTS,
    preamble=st.sampled_from([b"", b"\r\n", b"hello\r\n"]),
    end=st.sampled_from([b"--bb--\r\n", b"--bb--", b"--bb--\r\nepilogue", b"--bb", b""]),
)
def test_what_is_read_at_once_is_what_python_multipart_reads(
    parts: list[tuple[list[bytes], bytes]], preamble: bytes, end: bytes
) -> None:
    body = preamble + b"".join(
        b"--bb\r\n" + b"".join(head + b"\r\n" for head in heads) + b"\r\n" + content + b"\r\n"
        for heads, content in parts
    )
    at_once = forms._common(body + end, b"bb", 3)
    assert not at_once or at_once == forms._any(body + end, b"bb", 3)


def test_what_clients_write_is_read_at_once() -> None:
    def written(**options: Any) -> tuple[bytes, bytes]:
        request = httpx.Request(
            "POST", "http://x", files=[("file", ("z\u00e9ro 1.png", b"one", "image/png"))] * 2, **options
        )
        return request.read(), request.headers["content-type"].partition("boundary=")[2].encode()

    name = "z\u00e9ro 1.png".encode()
    assert forms._common(*written(), 2) == ([b"one", b"one"], [name, name], [])
    assert forms._common(*written(data={"client_ref": ["1", "2"]}), 2) == ([b"one", b"one"], [name, name], [b"1", b"2"])
    assert forms._common(body_of([b"", b"two"]), b"bb", 2) == ([b"", b"two"], [b"x", b"x"], [])
    assert forms._common(body_of([b"", b"two"]), b"bb", 1) is None, "python-multipart then says why"


def test_a_client_that_does_not_say_how_much_it_sends_is_stopped_at_the_limit() -> None:
    with pytest.raises(RequestError, match="at most 10000 bytes") as caught:
        read([bytes(6_000), bytes(6_000)], content_type=b"image/png")
    assert caught.value.status == 413
