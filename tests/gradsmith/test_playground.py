"""The playground's server: whom it answers, what it bounds, and what it says."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gradsmith.playground import MOST_BYTES, Answer, Server, Worker, answer


def obliging(text: str) -> Answer:
    """A worker's work that does what the text says."""
    if text == "sleep":
        time.sleep(60)
    if text == "fail":
        raise KeyError("lost")
    if text == "die":
        raise SystemExit
    return {"html": text}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    worker = Worker(obliging, seconds=1.0)
    with Server(0, "the page", worker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
    worker.close()


def ask(
    server: Server, method: str = "GET", path: str = "/", body: str = "", **headers: str
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, named)
    response = connection.getresponse()
    found = response.status, response.read().decode()
    connection.close()
    return found


def derive(server: Server, text: str, **headers: str) -> tuple[int, Answer]:
    headers = {"Content_Type": "application/json", **headers}
    status, found = ask(server, "POST", "/derive", json.dumps({"text": text}), **headers)
    return status, json.loads(found)


def test_the_page_and_the_answers_are_given_on_loopback(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert ask(server) == (200, "the page")
    status, found = derive(server, "a text", Origin=f"http://localhost:{server.server_port}")
    assert (status, found["html"]) == (200, "a text")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "example.org"},
        {"Host": "127.0.0.1"},
    ],
)
def test_another_sites_page_is_refused(server: Server, headers: dict[str, str]) -> None:
    status, found = derive(server, "a text", **headers)
    assert (status, list(found)) == (403, ["error"])
    assert ask(server, **headers)[0] == 403


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (415, "{}", {"Content_Type": "text/plain"}),
        (400, "{", {}),
        (400, "[]", {}),
        (400, '{"text": 1}', {}),
        (400, "[" * 90_000, {}),
        (413, "x" * (MOST_BYTES + 1), {}),
    ],
)
def test_what_the_page_does_not_send_is_refused_with_why(
    server: Server, status: int, body: str, headers: dict[str, str]
) -> None:
    headers = {"Content_Type": "application/json", **headers}
    found, said = ask(server, "POST", "/derive", body, **headers)
    assert found == status
    assert json.loads(said)["error"]["problem"]
    assert ask(server)[0] == 200


@pytest.mark.parametrize(
    ("text", "said"), [("sleep", "given up"), ("die", "too large"), ("fail", "KeyError: 'lost'")]
)
def test_what_takes_too_much_is_given_up_and_the_next_is_answered(
    server: Server, text: str, said: str
) -> None:
    assert said in derive(server, text)[1]["error"]["problem"]
    assert derive(server, "next")[1]["html"] == "next"


def test_a_length_of_thousands_of_digits_is_refused(server: Server) -> None:
    headers = {"Content_Type": "application/json", "Content_Length": "9" * 5000}
    assert ask(server, "POST", "/derive", **headers)[0] == 413


def test_a_browser_that_goes_away_is_nothing_to_tell_of(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.server_port)) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.sendall(b"GET / HTTP/1.1\r\n")
    assert derive(server, "next")[1]["html"] == "next"
    assert capfd.readouterr().err == ""


def test_many_that_ask_at_once_are_answered_or_told_to_wait(server: Server) -> None:
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda text: derive(server, text)[1], ["sleep"] * 4 + ["next"] * 8))
    assert len(found) == 12
    said = [one["error"]["problem"] for one in found if "error" in one]
    assert any("given up" in problem for problem in said)
    assert any("try again" in problem for problem in said)
    assert derive(server, "next")[1]["html"] == "next"


def test_an_answer_holds_derivation_latex_and_code() -> None:
    found = answer("y[n,k] = exp(x[n,k]) / sum_k(exp(x[n,k]))")["html"]
    assert "change of variables" in found and r"\begin{align*}" in found
    assert "def backward(grad_y: Tensor" in found
    assert "<script" not in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("y[n] = exq(x[n])", "unknown function 'exq'"),
        ("y[n] = log(-exp(x[n]))", "no value"),
        ("", "no definition"),
        ("y[n] = x[n]<script>alert(1)</script>", "does not belong here"),
    ],
)
def test_a_mistake_is_an_answer_too(text: str, problem: str) -> None:
    assert problem in answer(text)["error"]["problem"]


def test_a_let_without_a_value_is_shown_where_it_stands() -> None:
    error = answer("a[n] = x[n]**2\n  y[n] = log(-1 - a[n])")["error"]
    assert "no value" in error["problem"]
    assert (error["line"], error["column"], error["length"]) == (2, 3, 1)
