"""Answers in HTTP/1.1, read strictly (RFC 9112): bytes in, an answer out, no socket.

A doubtful answer is an error, never a guess: whoever misreads where one answer ends takes the rest
of it for the answer to somebody else's request.
"""

import re
from typing import NamedTuple

LARGEST = 64 * 1024  # bytes, head and body; API Gateway's own answers stay below 1 KB


class MalformedAnswerError(Exception):
    """The peer does not speak HTTP/1.1: nothing more can be read from this connection."""


class Answer(NamedTuple):
    """What is worth knowing of an answer; bodies are read and dropped."""

    status: int
    reusable: bool  # another request may follow on the same connection
    retry_after: float | None = None  # seconds
    error_type: str = ""  # x-amzn-ErrorType, such as GoneException


_OK = Answer(200, reusable=True)
_HEAD_END = b"\r\n\r\n"
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")
_FIELD_LINES = rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*"
_HEAD = re.compile(_STATUS_LINE.pattern + _FIELD_LINES + rb"\r\n")
_TRAILERS = re.compile(_FIELD_LINES + rb"\r\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_LENGTH = re.compile(rb"[0-9]{1,8}")
# The fields that say where an answer ends, and those that we act on.
_FIELDS = re.compile(
    rb"\r\n(content-length|transfer-encoding|connection|retry-after|x-amzn-errortype):"
    rb"[\t ]*([^\r]*?)[\t ]*(?=\r)",
    re.IGNORECASE,
)
# Nearly every answer is this one: 200, Content-Length 0 once, and no other field that matters.
_OTHER = (
    rb"(?:(?![cCtTrR])[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n"
    rb"|[Cc]ontent-[Tt]ype:[\t\x20-\x7e\x80-\xff]*\r\n|[Cc]onnection: keep-alive\r\n)*"
)
_PLAIN = re.compile(
    rb"HTTP/1\.1 200 [\t\x20-\x7e\x80-\xff]*\r\n"
    + _OTHER
    + rb"[Cc]ontent-[Ll]ength: 0\r\n"
    + _OTHER
    + rb"\r\n"
).fullmatch
_PLAIN_LARGEST = 2048  # bytes


def parse(data: bytes, *, closed: bool = False) -> Answer | None:
    """Read the one answer in ``data``, all that came since the request was sent.

    None means that it is not all there yet. ``closed`` says that nothing more will come; then an
    answer without a length is complete, and any other that is not all there is an error. Bytes
    behind the answer, which nobody asked for, make the connection not reusable.

    Raises:
        MalformedAnswerError: it is not HTTP/1.1, is ambiguous, over 64 KB, or was cut off.
    """
    if len(data) < _PLAIN_LARGEST and not closed and _PLAIN(data):
        return _OK
    if len(data) > LARGEST:
        raise MalformedAnswerError(f"an answer of over {LARGEST} bytes")
    answer = _read(data, closed=closed)
    if answer is None and closed:
        raise MalformedAnswerError("cut off" if data else "closed without an answer")
    return answer


def _read(data: bytes, *, closed: bool) -> Answer | None:
    start = 0
    while True:
        end = data.find(_HEAD_END, start) + len(_HEAD_END)
        if end < len(_HEAD_END):
            _check_beginning(data, start)
            return None
        head = _HEAD.fullmatch(data, start, end)
        if head is None:
            raise MalformedAnswerError("not an HTTP/1.1 head")
        status = int(head[2])
        if status >= 200:
            break
        if status == 101:
            raise MalformedAnswerError("switching protocols, which nobody asked for")
        start = end  # an interim answer; the final one follows
    fields = _fields(data, start, end)
    body_end, delimited = _body_end(data, end, status, fields)
    if body_end is None:
        if delimited or not closed:
            return None
        body_end = len(data)
    kept = head[1] == b"1" and delimited and b"close" not in _tokens(fields.get(b"connection", b""))
    return Answer(
        status,
        kept and not closed and body_end == len(data),
        _seconds(fields.get(b"retry-after", b"")),
        fields.get(b"x-amzn-errortype", b"").decode("latin-1").partition(":")[0],
    )


def _check_beginning(data: bytes, start: int) -> None:
    """Refuse at the first line what will never be an answer, rather than wait for its end."""
    line_end = data.find(b"\r\n", start)
    if line_end >= 0:
        sound = _STATUS_LINE.fullmatch(data, start, line_end + 2) is not None
    else:
        beginning = data[start : start + 7]
        sound = b"HTTP/1.".startswith(beginning)
    if not sound:
        raise MalformedAnswerError("not an HTTP/1.1 status line")


def _fields(data: bytes, start: int, end: int) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in _FIELDS.findall(data, start, end):
        name = name.lower()
        if name == b"connection" and name in found:
            value = found[name] + b"," + value
        elif name in found and name in (b"content-length", b"transfer-encoding"):
            raise MalformedAnswerError(f"two fields {name.decode()}")
        found[name] = value
    return found


def _body_end(
    data: bytes, start: int, status: int, fields: dict[bytes, bytes]
) -> tuple[int | None, bool]:
    """Return where the body ends (None: not here yet), and whether it says so itself.

    RFC 9112 section 6.3, but both a length and a coding are an error instead of a choice.
    """
    coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
    if coding is not None and length is not None:
        raise MalformedAnswerError("both content-length and transfer-encoding")
    if length is not None and not _LENGTH.fullmatch(length):
        raise MalformedAnswerError("content-length is not a number")
    if status in (204, 304):
        return start, True
    if coding is not None:
        if coding.lower() != b"chunked":
            raise MalformedAnswerError("a transfer-encoding other than chunked")
        return _chunks_end(data, start), True
    if length is None:
        return None, False
    end = start + int(length)
    if end - start > LARGEST:
        raise MalformedAnswerError(f"a body of over {LARGEST} bytes")
    return (end if end <= len(data) else None), True


def _chunks_end(data: bytes, at: int) -> int | None:
    """Walk the chunks (RFC 9112 section 7.1); return the end of the trailers, or None."""
    while True:
        line_end = data.find(b"\r\n", at) + 2
        if line_end < 2:
            return None
        size = _CHUNK_SIZE.fullmatch(data, at, line_end)
        if size is None:
            raise MalformedAnswerError("not a chunk size")
        length = int(size[1], 16)
        if length == 0:
            return _trailers_end(data, line_end)
        at = line_end + length + 2
        if data[at - 2 : at] not in (b"\r\n", b"\r", b""):
            raise MalformedAnswerError("a chunk longer than its size")
        if at > len(data):
            return None


def _trailers_end(data: bytes, at: int) -> int | None:
    if data.startswith(b"\r\n", at):
        return at + 2
    end = data.find(_HEAD_END, at) + len(_HEAD_END)
    if end < len(_HEAD_END):
        return None
    if not _TRAILERS.fullmatch(data, at, end):
        raise MalformedAnswerError("not a trailer")
    return end


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip().lower() for token in value.split(b",")]


def _seconds(value: bytes) -> float | None:
    """Return Retry-After in seconds; its other form, a date, is left to our own backoff."""
    return float(value) if _LENGTH.fullmatch(value) else None
