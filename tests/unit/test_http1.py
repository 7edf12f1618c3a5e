"""Answers are read strictly, however they are cut into pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.transport.http1 import LARGEST, Answer, MalformedAnswerError, parse

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n"

WHOLE = {
    "bare": (OK, Answer(200, reusable=True)),
    "as API Gateway answers": (
        b"HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 10:00:00 GMT\r\n"
        b"Content-Type: application/json\r\nContent-Length: 0\r\nConnection: keep-alive\r\n"
        b"x-amzn-RequestId: 5bc2ff4e-d2f8-4b4c-9b6f-2f8a1a1e7b0a\r\n"
        b"x-amz-apigw-id: WDGT8fY4joECJrQ=\r\nX-Amzn-Trace-Id: Root=1-5\r\n\r\n",
        Answer(200, reusable=True),
    ),
    "without a reason": (b"HTTP/1.1 204 \r\n\r\n", Answer(204, reusable=True)),
    "with a body": (
        b"HTTP/1.1 410 Gone\r\nx-amzn-ErrorType: GoneException\r\ncontent-length: 2\r\n\r\n{}",
        Answer(410, reusable=True, error_type="GoneException"),
    ),
    "error type with an address": (
        b"HTTP/1.1 403 No\r\nX-Amzn-ErrorType: Denied:http://x/\r\nContent-Length: 0\r\n\r\n",
        Answer(403, reusable=True, error_type="Denied"),
    ),
    "retry-after": (
        b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
        Answer(429, reusable=True, retry_after=7.0),
    ),
    "retry-after as a date": (
        b"HTTP/1.1 429 Slow\r\nRetry-After: Fri, 20 Nov 2026\r\nContent-Length: 0\r\n\r\n",
        Answer(429, reusable=True),
    ),
    "the last one": (
        b"HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 0\r\n\r\n",
        Answer(200, reusable=False),
    ),
    "the last one, said apart": (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: foo\r\nContent-Length: 0\r\n\r\n",
        Answer(200, reusable=False),
    ),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", Answer(200, reusable=False)),
    "after interim answers": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nContent-Length: 9\r\n\r\n" + OK,
        Answer(200, reusable=True),
    ),
    "chunked": (
        CHUNKED + b"5;name=value\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n",
        Answer(403, reusable=True),
    ),
    "chunked with trailers": (
        CHUNKED + b"1\r\nx\r\n0\r\nDigest: abc\r\n\r\n",
        Answer(403, reusable=True),
    ),
}

MALFORMED = {
    "garbage": b"\x15\x03\x01\x00\x02\x02\x28",
    "not yet a line, but wrong": b"SSH-2",
    "another version": b"HTTP/2 200 OK\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "folded field": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "NUL in a field": b"HTTP/1.1 200 OK\r\nA: \0\r\nContent-Length: 0\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
    "empty length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
    "list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 0, 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\ncontent-length: 0\r\n\r\n",
    "length and chunks": CHUNKED[:-2] + b"Content-Length: 0\r\n\r\n0\r\n\r\n",
    "coding nobody asked for": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "two codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "too long a body": b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "chunk size in words": CHUNKED + b"five\r\n",
    "negative chunk": CHUNKED + b"-1\r\n",
    "chunk longer than its size": CHUNKED + b"1\r\nxy\r\n0\r\n\r\n",
    "folded trailer": CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n",
    "endless": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (LARGEST // 6),
}


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_is_read_when_it_is_whole_and_not_before(name: str) -> None:
    """Every prefix asks for more; bytes behind the answer spoil the connection only."""
    data, answer = WHOLE[name]

    assert [parse(data[:end]) for end in range(len(data))] == [None] * len(data)
    assert parse(data) == answer
    assert parse(data + b"H") == answer._replace(reusable=False)


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_that_is_cut_off_is_an_error(name: str) -> None:
    """Also when nothing came at all."""
    data, answer = WHOLE[name]

    assert parse(data, closed=True) in (answer, answer._replace(reusable=False))
    for end in range(len(data)):
        with pytest.raises(MalformedAnswerError):
            parse(data[:end], closed=True)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_doubtful_answer_is_an_error(name: str) -> None:
    """Never a guess, and no later byte can mend it."""
    with pytest.raises(MalformedAnswerError):
        parse(MALFORMED[name])


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """RFC 9112 section 6.3, rule 8."""
    data = b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>"

    assert parse(data) is None
    assert parse(data, closed=True) == Answer(502, reusable=False)


@given(st.binary(max_size=200) | st.sampled_from(sorted(data for data, _ in WHOLE.values())))
def test_any_bytes_give_an_answer_or_the_one_error(data: bytes) -> None:
    """Nothing else is raised, and an error stays an error with more bytes."""
    for closed in (False, True):
        try:
            parse(data, closed=closed)
        except MalformedAnswerError:
            if not closed:
                with pytest.raises(MalformedAnswerError):
                    parse(data + b"\r\n\r\n")


@given(
    st.sampled_from([data for data, _ in WHOLE.values()]),
    st.integers(0, 200),
    st.binary(min_size=1, max_size=3),
)
def test_a_damaged_answer_never_raises_anything_else(data: bytes, at: int, wrong: bytes) -> None:
    """Some bytes of a good answer are overwritten."""
    at %= len(data)
    try:
        answer = parse(data[:at] + wrong + data[at + len(wrong) :])
    except MalformedAnswerError:
        return
    assert answer is None or 200 <= answer.status <= 999
