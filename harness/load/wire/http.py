"""Triton's HTTP/REST protocol with the binary tensor data extension, on prepared bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import numpy as np

from harness.http_json import refusal
from harness.load.sequence_flags import widened
from harness.load.wire.compression import compressed
from harness.load.wire.connection import LARGEST_KEPT, Connection, Fault
from harness.load.wire.stream import Stream
from harness.load.wire.tls_stream import TlsStream
from harness.plain_text import quoted
from harness.schema.samples import Status
from harness.schema.scenario import Compression
from harness.schema.tensors import Tensors
from harness.tls import Tls, context_of

if TYPE_CHECKING:
    from harness.load.wire.stream import Buffer

_BUFFER_BYTES = 64 * 1024
_LONGEST_HEAD = 32 * 1024
"""Bytes of a head; a trailer section may have as many."""
_LONGEST_LINE = 8 * 1024
"""More than the first line of a request of ours has."""
_MOST_DIGITS = 15
"""Digits of a length: a petabyte has 16."""
_OWN_PARAMETERS = ("priority", "timeout", "sequence_id", "sequence_start", "sequence_end")
"""Those that tritonclient has arguments for."""
_REFUSAL_BYTES = 16 * 1024
"""Bytes of a refusal that are kept, for its reason."""


def prepare(
    model: str,
    inputs: Tensors,
    outputs: Sequence[str],
    host: str,
    *,
    version: str = "",
    prefix: str = "",
    parameters: Mapping[str, Any] | None = None,
    compression: Compression | None = None,
) -> bytes:
    """A whole POST request: head, JSON, tensors. `host` is "name:port"; no outputs means all of them.
    `prefix` stands before the path, as a proxy asks."""
    import tritonclient.http as triton
    from tritonclient.utils import np_to_triton_dtype

    tensors = []
    for name, array in inputs.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(np.ascontiguousarray(array), binary_data=True)
        tensors.append(tensor)
    wanted = [triton.InferRequestedOutput(name, binary_data=True) for name in outputs]
    return request(model, tensors, wanted, host, version, prefix, parameters, compression)


def request(
    model: str,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    host: str,
    version: str = "",
    prefix: str = "",
    parameters: Mapping[str, Any] | None = None,
    compression: Compression | None = None,
) -> bytes:
    """The same of tritonclient's own InferInput and InferRequestedOutput objects."""
    import tritonclient.http as triton

    given = dict(parameters or {})
    own = {name: given.pop(name) for name in _OWN_PARAMETERS if name in given}
    body, json_bytes = triton.InferenceServerClient.generate_request_body(
        inputs, outputs=outputs or None, parameters=given or None, **own
    )
    if "sequence_id" in own:
        text = widened(body[:json_bytes])
        body, json_bytes = text + body[len(body) if json_bytes is None else json_bytes :], len(text)
    if compression is not None:  # Triton makes the lengths of what it has before the compression
        body = compressed(compression, body)
    of_version = f"/versions/{version}" if version else ""
    head = [
        f"POST {prefix}/v2/models/{quote(model, safe='')}{of_version}/infer HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/octet-stream",
        f"Content-Length: {len(body)}",
    ]
    if compression is not None:
        head.append(f"Content-Encoding: {compression}")
    if json_bytes is not None:
        head.append(f"Inference-Header-Content-Length: {json_bytes}")
    whole: bytes = "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body
    return whole


class _Head(NamedTuple):
    status: int
    length: int | None
    """None for a chunked body."""
    json_bytes: int | None
    close: bool


class HttpConnection(Connection):
    """HTTP/1.1 with keep-alive. Answers may be of a given length or chunked; nothing else is accepted."""

    def __init__(
        self,
        host: str,
        port: int,
        timeout_s: float,
        tls: Tls | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        at: str | None = None,
    ) -> None:
        """`headers` go with every request; `at` is which of the host's numbers is meant, where it has
        several. Raises InputError for TLS that can't be had."""
        super().__init__(host, port, timeout_s)
        if tls is not None:
            context_of(tls, "http/1.1")
        self._tls, self._at = tls, at
        self._more = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
        """Lines of each head that aren't in what is prepared, because that lies in files."""
        self._stream: Stream | None = None
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        # A server repeats itself: the last head, to be compared rather than parsed.
        self._seen = b"\r\n\r\n"
        self._seen_head: _Head | None = None
        self._has_answered = False

    @property
    def _kept_alive(self) -> bool:
        return self._has_answered

    @property
    def connected(self) -> bool:
        return self._stream is not None

    def _connect(self) -> None:
        self._has_answered = False
        if self._tls is None:
            self._stream = Stream(self._at or self.host, self.port)
        else:
            self._stream = TlsStream(self.host, self.port, self._tls, "http/1.1", at=self._at)
        if self.alone:
            self._stream.wait_in_kernel()

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _exchange(self, prepared: Buffer, keep_body: bool) -> str | None:
        stream = self._stream
        assert stream is not None
        if self._more:
            whole, at = memoryview(prepared), _first_line(prepared)
            stream.send_all((whole[:at], self._more, whole[at:]))
        else:
            stream.send(prepared)
        self._sent_bytes = len(prepared) + len(self._more)
        buffer = self._buffer
        end = stream.receive_into(self._view)
        if not end:
            raise Fault(Status.CONNECTION, "the server closed the connection without an answer")
        self._first_byte_ns = monotonic_ns()
        self._received_bytes = end
        seen = self._seen
        if end >= len(seen) and buffer.startswith(seen) and self._seen_head is not None:
            start, head = len(seen), self._seen_head
        else:
            start, end = self._read_head(stream, end)
            self._seen = bytes(self._view[:start])
            self._seen_head = head = _parsed(self._seen)
        most = self.keeps if keep_body else 0
        if head.status != 200:
            most = _REFUSAL_BYTES
        if head.length is None:
            body: bytes | None = self._read_chunks(stream, start, end, most)
        elif end - start == head.length:
            body = bytes(self._view[start:end]) if most else None
        elif end - start > head.length:
            raise Fault(Status.PROTOCOL, "more bytes than Content-Length says")
        else:
            body = self._read_rest(stream, start, end, head.length, most)
        self._completed_ns = monotonic_ns()
        self._has_answered = True
        if head.close:
            self._drop()
        if head.status == 200:
            if most < LARGEST_KEPT and body is not None and len(body) >= most:
                body = None
            self._body, self._json_bytes = body, head.json_bytes
            return None
        return _refusal(head.status, body or b"")

    def _read_head(self, stream: Stream, end: int) -> tuple[int, int]:
        """(where the body begins, where the bytes read so far end)."""
        while True:
            stop = self._buffer.find(b"\r\n\r\n", 0, end)
            if stop >= 0:
                return stop + 4, end
            if not b"HTTP/1.".startswith(self._buffer[: min(end, 7)]):
                raise Fault(Status.PROTOCOL, "the answer is not HTTP/1")
            if end >= _LONGEST_HEAD:
                raise Fault(Status.PROTOCOL, f"a head of more than {_LONGEST_HEAD} bytes")
            end += self._receive(stream, self._view[end:])

    def _read_rest(self, stream: Stream, start: int, end: int, length: int, most: int) -> bytes | None:
        """A body of `length` bytes. It is kept as it comes: that it is long is only said so far."""
        _check_fits(length, most)
        missing = length - (end - start)
        body = bytearray(self._view[start:end][:most])
        self._read_into(body, stream, missing, most)
        return bytes(body) if most else None

    def _read_chunks(self, stream: Stream, start: int, end: int, most: int) -> bytes | None:
        """A chunked body (RFC 9112, 7.1), trailer section included."""
        data = bytearray(self._view[start:end])
        """What has come and wasn't taken yet: a line, or the bytes of one read."""
        body = bytearray()

        def more() -> None:
            data.extend(self._view[: self._receive(stream, self._view)])

        def line() -> bytes:
            while (stop := data.find(b"\r\n")) < 0:
                if len(data) > _LONGEST_HEAD:
                    raise Fault(Status.PROTOCOL, "a chunk without its size")
                more()
            text = bytes(data[:stop])
            del data[: stop + 2]
            return text

        while size := _chunk_size(line()):
            _check_fits(len(body) + size, most)
            body += data[: min(size, most - len(body))]
            taken = min(size, len(data))
            del data[:taken]
            self._read_into(body, stream, size - taken, most)
            while len(data) < 2:
                more()
            if data[:2] != b"\r\n":
                raise Fault(Status.PROTOCOL, "a chunk longer than its size")
            del data[:2]
        trailer_bytes = 0
        while field := line():
            trailer_bytes += len(field)
            if trailer_bytes > _LONGEST_HEAD:
                raise Fault(Status.PROTOCOL, f"a trailer of more than {_LONGEST_HEAD} bytes")
        if data:
            raise Fault(Status.PROTOCOL, "more bytes than the last chunk")
        return bytes(body) if most else None

    def _read_into(self, body: bytearray, stream: Stream, missing: int, most: int) -> None:
        """Add what is missing to a body of at most `most` bytes, and drop the rest of it."""
        while missing and len(body) < most:
            got = self._receive(stream, self._view[:missing])
            body += self._view[: min(got, most - len(body))]
            missing -= got
        while missing:
            missing -= self._came(stream.discard(missing))

    def _receive(self, stream: Stream, view: memoryview) -> int:
        return self._came(stream.receive_into(view))

    def _came(self, got: int) -> int:
        if not got:
            raise Fault(Status.CONNECTION, "the server closed the connection before the answer was whole")
        self._received_bytes += got
        self._deadline.check()
        return got

    def _decoded(self, body: bytes, json_bytes: int | None) -> Tensors:
        import tritonclient.http as triton

        result = triton.InferenceServerClient.parse_response_body(body, header_length=json_bytes)
        return {each["name"]: result.as_numpy(each["name"]) for each in result.get_response()["outputs"]}


def _first_line(prepared: Buffer) -> int:
    """Bytes of the request's first line, its end included."""
    return bytes(memoryview(prepared)[:_LONGEST_LINE]).index(b"\r\n") + 2


def _check_fits(size: int, most: int) -> None:
    """Raises Fault where an answer that is to be kept whole is too large for it; of others a part is kept."""
    if most == LARGEST_KEPT and size > most:
        raise Fault(Status.PROTOCOL, f"an answer of more than the {LARGEST_KEPT} bytes that are kept")


def _chunk_size(line: bytes) -> int:
    digits = line.split(b";", 1)[0].strip()
    if not digits or digits.strip(b"0123456789abcdefABCDEF") or len(digits) > 8:
        raise Fault(Status.PROTOCOL, "a chunk without its size")
    return int(digits, 16)


def _parsed(head: bytes) -> _Head:
    first, *lines = head[:-4].split(b"\r\n")
    words = first.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not _is_number(words[1]):
        raise Fault(Status.PROTOCOL, "the answer is not HTTP/1")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise Fault(Status.PROTOCOL, "a header line without a colon")
        name, value = name.strip().lower(), value.strip()
        if name == b"content-length" and fields.get(name, value) != value:
            raise Fault(Status.PROTOCOL, "an answer of two lengths")
        fields[name] = value
    status = int(words[1])
    if not 200 <= status <= 599:
        raise Fault(Status.PROTOCOL, f"HTTP status {status}, which is no answer")
    chunked = fields.get(b"transfer-encoding", b"").lower() == b"chunked"
    length = fields.get(b"content-length")
    if not chunked and (length is None or not _is_number(length)):
        raise Fault(Status.PROTOCOL, "an answer that doesn't say its length")
    json_bytes = fields.get(b"inference-header-content-length", b"")
    close = fields.get(b"connection", b"").lower() == b"close" or words[0] == b"HTTP/1.0"
    return _Head(
        status,
        None if chunked or length is None else int(length),
        int(json_bytes) if _is_number(json_bytes) else None,
        close,
    )


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= _MOST_DIGITS


def _refusal(status: int, body: bytes) -> str:
    """Triton's own words, which it gives as {"error": …}; else the title of a page, or the first line."""
    told = refusal(body) or body.decode("utf-8", "replace")
    said = quoted(told.strip().split("\n")[0])
    return quoted(f"HTTP {status}: {said}" if said else f"HTTP {status}")
