"""A real S3 server (moto) in a process of its own, and a proxy before it that fails on demand. Both listen on loopback,
the server elsewhere if asked."""

from __future__ import annotations

import http.client
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.ports import free_ports

BUCKET = "speech"
LOOPBACK = "127.0.0.1"
SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


def environment(endpoint: str) -> dict[str, str]:
    """What the AWS libraries read: where to go, and as whom."""
    return {
        "AWS_ENDPOINT_URL_S3": endpoint, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip


@contextmanager
def s3_server(host: str = LOOPBACK) -> Iterator[int]:
    """The port of a server that holds nothing but the empty bucket :data:`BUCKET`."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment(f"http://{host}:{port}")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not _made(port, host):
            assert process.poll() is None, "the server does not start"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=20)


def _made(port: int, host: str) -> bool:
    try:
        return _asked(port, "PUT", f"/{BUCKET}", {}, b"", host)[0] == 200
    except OSError:
        return False


def _asked(
    port: int, method: str, path: str, headers: dict[str, str], body: bytes, host: str = LOOPBACK
) -> tuple[int, list[tuple[str, str]], bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


@dataclass
class Faults:
    """What the proxy does to requests, drawn by ``seed``: shares of all requests.

    busy        answered 503 SlowDown, and not passed on
    dropped     the connection is closed before anything is passed on
    unheard     passed on and done, but the connection is closed before the answer
    cut         the answer breaks off in its middle
    slow        answered after :data:`SLOW` seconds
    unlisted    listings show nothing under this prefix
    down_after  so many requests from now, every one is answered 503
    """

    busy: float = 0.0
    dropped: float = 0.0
    unheard: float = 0.0
    cut: float = 0.0
    slow: float = 0.0
    unlisted: str | None = None
    down_after: int | None = None
    seed: int = 0
    count: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def draw(self) -> str:
        """What happens to the next request."""
        with self._lock:
            place, kind = self._random.random(), "passed"
            for name in ("busy", "dropped", "unheard", "cut", "slow"):
                if 0 <= place < getattr(self, name):
                    kind = name
                place -= getattr(self, name)
            if self.down_after is not None:
                self.down_after -= 1
                kind = "busy" if self.down_after < 0 else kind
            self.count[kind] = self.count.get(kind, 0) + 1
            return kind


SLOW = 0.5


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: int
    faults: Faults

    def _do(self) -> None:
        body = self._body()
        kind = self.faults.draw()
        if kind == "busy":
            self._answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        if kind == "dropped":
            self._drop()
            return
        if kind == "slow":
            time.sleep(SLOW)
        headers = {
            k: v
            for k, v in self.headers.items()
            if k.lower() not in ("connection", "expect", "transfer-encoding", "content-length")
        }
        status, found, data = _asked(self.upstream, self.command, self.path, headers, body)
        if kind == "unheard":
            self._drop()
            return
        self._answer(status, found, self._listed(data), cut=kind == "cut")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _do

    def _body(self) -> bytes:
        """The request's body, as the client framed it: aws-chunked content stays as it is."""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _listed(self, data: bytes) -> bytes:
        """A listing without what was not to be shown; any other answer as it is."""
        if self.faults.unlisted is None or b"<ListBucketResult" not in data[:400]:
            return data
        hidden = re.escape(self.faults.unlisted.encode())
        for tag, name in ((b"Contents", b"Key"), (b"CommonPrefixes", b"Prefix")):
            data = re.sub(b"<%s>\\s*<%s>%s.*?</%s>" % (tag, name, hidden, tag), b"", data, flags=re.DOTALL)
        return re.sub(b"<KeyCount>\\d+</KeyCount>", b"", data)

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        length = next((v for k, v in headers if k.lower() == "content-length"), str(len(data)))
        for name, value in headers:
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self._drop()

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@contextmanager
def proxy(upstream: int, faults: Faults) -> Iterator[str]:
    """The endpoint of a proxy before the server on port ``upstream``."""
    handler = type("Handler", (_Handler,), {"upstream": upstream, "faults": faults})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads, server.handle_error = True, lambda *_: None  # a client that left is no news
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def upload(port: int, folder: Path, prefix: str, host: str = LOOPBACK) -> str:
    """Every file under ``folder`` into the bucket; returns the URL of what was ``folder``."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = f"/{BUCKET}/{prefix}/{path.relative_to(folder)}"
        status, _, said = _asked(port, "PUT", name, {}, path.read_bytes(), host)
        assert status == 200, said
    return f"s3://{BUCKET}/{prefix}"
