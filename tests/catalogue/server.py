"""A server on this machine that answers as publishers' servers do, when they are well and when they are not."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

WHOLE = np.random.default_rng(0).bytes(300_000)


class Answer:
    """What the server does with one request.

    Args:
        body: of the whole file.
        tag: its ETag; none when empty.
        sent: how many bytes of the answer are sent before the connection ends.
        stall: whether it then stands still instead.
        says: what Content-Length says, if not the truth.
        ranges: whether parts can be asked for; `always` without looking at If-Range.
        status: instead of all that.
        slow: seconds between pieces.
    """

    def __init__(
        self,
        body: bytes = WHOLE,
        tag: str = '"1"',
        sent: int | None = None,
        stall: bool = False,
        says: int | str | None = None,
        ranges: str = "yes",
        status: int = 0,
        slow: float = 0.0,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.body, self.tag, self.sent, self.stall, self.says = body, tag, sent, stall, says
        self.ranges, self.status, self.slow, self.headers = ranges, status, slow, headers


class Server(ThreadingHTTPServer):
    """Gives the answers in turn, the last one for good.

    Attributes:
        address: of the file that it serves.
        asked: the header Range of each request.
        over: set when nobody waits any more.
    """

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.over = answers, threading.Event()
        self.asked: list[str | None] = []
        self.address = f"http://127.0.0.1:{self.server_port}/files/log.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        server = self.server
        answer = server.answers[min(len(server.asked), len(server.answers) - 1)]
        server.asked.append(self.headers.get("Range"))
        if answer.status:
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, asked = 0, self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, answer.tag)  # without the header, whatever file there is
        if asked and (answer.ranges == "always" or (answer.ranges == "yes" and same)):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(answer.body) - 1}/{len(answer.body)}")
        else:
            self.send_response(200)
        body = answer.body[start:]
        if answer.tag:
            self.send_header("ETag", answer.tag)
        if answer.says != "nothing":
            self.send_header("Content-Length", str(len(body) if answer.says is None else answer.says))
        self.end_headers()
        with suppress(ConnectionError):  # who is killed, or has seen enough, goes away
            for place in range(0, len(body[: answer.sent]), 2**14):
                self.wfile.write(body[: answer.sent][place : place + 2**14])
                time.sleep(answer.slow)
        if answer.stall:
            server.over.wait(20)

    def log_message(self, *_):
        pass


@contextmanager
def serving(*answers: Answer) -> Iterator[Server]:
    """Run a server in a thread of its own."""
    server = Server(answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
