"""A local page on which a person types a definition and sees its gradient as they type.

The server listens on loopback and answers loopback pages only. What is typed is read by the
grammar, never run, and derived in a worker process that is ended where it takes too long.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any

HOST = "127.0.0.1"
SECONDS = 10.0
"""How long one definition may take."""

MOST_BYTES = 128 * 1024
"""How long a request may be: 20,000 characters, with room for how JSON spells them."""

MEMORY = 4 << 30
"""How many bytes of address space a worker may take, where the system can be told."""

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

Answer = dict[str, Any]


def answer(text: str) -> Answer:
    """What the page shows for a text: `html`, or an `error` with its place in the text."""
    from codegen.program import CodegenError
    from derive import DefinitionError, library
    from derive.notation.grammar import TextError
    from derive.notation.reading import read
    from derive.verification.arithmetic import Undefined
    from derive.verification.verify import VerificationError
    from gradsmith.pages import html
    from gradsmith.pages.page import draft

    try:
        *_, definition = read(text, library.load, "<playground>").values()
        return {"html": html.article(draft(definition))}
    except TextError as error:
        place = {"line": error.line, "column": error.column, "length": error.length}
        return {"error": {"problem": error.problem, **place}}
    except (DefinitionError, Undefined, CodegenError, VerificationError) as error:
        return {"error": {"problem": str(error), **_let_in(text, str(error))}}
    except (RecursionError, MemoryError):
        return {"error": {"problem": "this definition is too large to derive here"}}


def _let_in(text: str, problem: str) -> dict[str, int]:
    """Where the let stands that a problem names, where it names one."""
    named = re.search(r"\blet '(\w+)'", problem)
    head = named and re.search(rf"^[ \t]*({named[1]})\b[^=\n]*=", text, re.MULTILINE)
    if not head:
        return {}
    begins = text.rfind("\n", 0, head.start(1)) + 1
    line = text.count("\n", 0, begins) + 1
    return {"line": line, "column": head.start(1) - begins + 1, "length": len(head[1])}


class Worker:
    """A process that answers one text at a time, and is ended and replaced where it overruns."""

    def __init__(self, work: Callable[[str], Answer] = answer, seconds: float = SECONDS) -> None:
        self._work = work
        self._seconds = seconds
        self._turn = threading.Lock()
        self._start()

    def ask(self, text: str) -> Answer:
        """The answer to a text, with the seconds that it took; refused where others wait long."""
        if not self._turn.acquire(timeout=2 * self._seconds):
            return {"error": {"problem": "other definitions are being derived; try again"}}
        try:
            if not self._process.is_alive():
                self._start()
            began = time.monotonic()
            try:
                self._connection.send(text)
                if not self._connection.poll(self._seconds):
                    self._restart()
                    problem = f"not derived in {self._seconds:g} s, and given up"
                    return {"error": {"problem": problem}}
                found = self._connection.recv()
            except (EOFError, OSError):
                self._restart()
                return {"error": {"problem": "this definition is too large to derive here"}}
            return {**found, "seconds": time.monotonic() - began}
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._work), daemon=True)
        self._process.start()
        theirs.close()
        if self._connection.poll(60):
            self._connection.recv()

    def _restart(self) -> None:
        self.close()
        self._start()


def _work(connection: Connection, work: Callable[[str], Answer]) -> None:
    """The worker's life: warm up, then texts in and answers out until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this
    _limit_memory()
    work("y[n] = tanh(x[n])")
    connection.send("ready")
    while True:
        try:
            text = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            found = work(text)
        except Exception as error:
            problem = (
                f"a mistake in gradsmith, which this text shows: {type(error).__name__}: {error}"
            )
            found = {"error": {"problem": problem}}
        connection.send(found)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # a system without such limits
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


class Server(ThreadingHTTPServer):
    """The playground on a port of the loopback address; port 0 takes any that is free."""

    daemon_threads = True

    request_queue_size = 64

    def __init__(self, port: int, page: str, worker: Worker) -> None:
        super().__init__((HOST, port), Handler)
        self.page = page.encode()
        self.worker = worker

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away before its answer is no mistake; anything else is told."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """One request: the page, or the answer to a text."""

    server_version = "gradsmith"
    sys_version = ""
    timeout = 30

    @property
    def _playground(self) -> Server:
        assert isinstance(self.server, Server)
        return self.server

    def do_GET(self) -> None:
        if not self._is_local():
            self._refuse(HTTPStatus.FORBIDDEN, "only pages of this machine are answered")
        elif self.path != "/":
            self._refuse(HTTPStatus.NOT_FOUND, f"there is no {self.path}")
        else:
            self._reply(HTTPStatus.OK, "text/html; charset=utf-8", self._playground.page)

    def do_POST(self) -> None:
        if not self._is_local():
            self._refuse(HTTPStatus.FORBIDDEN, "only pages of this machine are answered")
            return
        if self.path != "/derive":
            self._refuse(HTTPStatus.NOT_FOUND, f"there is no {self.path}")
            return
        if self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the text is sent as application/json")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "a Content-Length is needed")
            return
        if len(length) > 9 or int(length) > MOST_BYTES:
            problem = f"at most {MOST_BYTES} bytes are read, and the request has more"
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem)
            return
        try:
            text = _text_in(self.rfile.read(int(length)))
        except ValueError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        self._send(HTTPStatus.OK, self._playground.worker.ask(text))

    def _is_local(self) -> bool:
        """Whether a page of this server asks, under a loopback name: no other site's page can."""
        port = self._playground.server_port
        hosts = {f"{name}:{port}" for name in _LOOPBACK}
        origin = self.headers.get("Origin")
        return self.headers.get("Host") in hosts and (
            origin is None or origin in {f"http://{host}" for host in hosts}
        )

    def _refuse(self, status: HTTPStatus, problem: str) -> None:
        self.close_connection = True
        self._send(status, {"error": {"problem": problem}})

    def _send(self, status: HTTPStatus, found: Mapping[str, object]) -> None:
        self._reply(status, "application/json", json.dumps(found).encode())

    def _reply(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: standard error is for what a person should see."""


def _text_in(content: bytes) -> str:
    """The text of a request.

    Raises:
        ValueError: the request is not what the page sends.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("the request is no JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("text"), str):
        raise ValueError('the request is no object with a "text"')
    return found["text"]
