"""Serves exported models over HTTP, with numpy, onnxruntime and Pillow alone (requirements.txt).

    python serve.py MODEL.onnx [...] [--host HOST] [--port PORT]          (a folder stands for every *.onnx below it)

    GET  /                 the names of the models
    GET  /MODEL            its signature: all that there is to know of it
    HEAD                   as GET
    POST /MODEL            asks it; the body is a picture, or the lines of a CSV file, or texts, one a line; as application/json also a list
                           of rows ([1, null, ...] or {"name": 1, ...}) or of texts

An answer is JSON: {"answers": [...]}, one for each input, as predict.py --json prints them, or {"error": "a sentence"} with a status of 400
and more. Requests that come together are computed together. Nothing but loopback is listened on unless --host says so, and then whoever
reaches the port may ask: it knows no passwords and no TLS, which are a reverse proxy's work.
"""

import argparse
import base64
import contextlib
import email.errors
import io
import json
import queue
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

try:
    import predict  # beside this file
except ImportError:  # imported from the repository's root
    from examples import predict

MAX_BODY = 10_000_000  # bytes
MAX_INPUTS = 256  # of one request
MAX_WAITING = 1024  # inputs of one model that wait to be computed
MAX_BATCH = 64
MAX_CONNECTIONS = 64
WINDOW_S = 0.002  # in which inputs are gathered for a batch
MAX_DECODED = 4  # pictures that are unpacked at once: each may take some hundred MB
TIMEOUT_S = 10.0  # for a whole head, from the last answer, and for a whole body
MAX_DRAINED = 100_000_000  # bytes of a body that is refused, so that its sender hears why
MAX_DIGITS = 12  # of a length
MAX_THREADS = 1024
TOLERANCE = 1e-4  # of a golden output
DECODING = threading.Semaphore(MAX_DECODED)


Reader = Callable[[], predict.Item]


class Rejected(Exception):
    """A request that is not answered: its status, and a sentence."""

    def __init__(self, status: HTTPStatus, sentence: str):
        super().__init__(sentence)
        self.status = status


class Batcher:
    """Computes the inputs of many requests together: what comes within `window_s` of the first shares its batch."""

    def __init__(self, model: predict.Model, max_batch: int = MAX_BATCH, window_s: float = WINDOW_S, max_waiting: int = MAX_WAITING):
        self.model, self.max_batch, self.window_s = model, max_batch, window_s
        self.waiting: queue.Queue[tuple[np.ndarray, Future[dict[str, Any]]]] = queue.Queue(max_waiting)
        threading.Thread(target=self.work, daemon=True).start()

    def ask(self, items: list[predict.Item]) -> list[dict[str, Any]]:
        """The answers, when they are there. Raises Rejected where too much waits already."""
        if self.waiting.qsize() + len(items) > self.waiting.maxsize:
            raise Rejected(HTTPStatus.SERVICE_UNAVAILABLE, "too many inputs wait for this model: ask again in a second")
        futures: list[Future[dict[str, Any]]] = [Future() for _ in items]
        for item, future in zip(items, futures, strict=True):
            self.waiting.put((item.values, future))
        return [future.result() | ({"note": item.note} if item.note else {}) for item, future in zip(items, futures, strict=True)]

    def work(self) -> None:
        while True:
            batch = [self.waiting.get()]
            until = time.monotonic() + self.window_s
            with contextlib.suppress(queue.Empty):
                while len(batch) < self.max_batch:
                    batch.append(self.waiting.get(timeout=max(0.0, until - time.monotonic())))
            self.compute(batch)

    def compute(self, batch: list[tuple[np.ndarray, "Future[dict[str, Any]]"]]) -> None:
        try:
            answers = self.model.answer([values for values, _ in batch])
        except Exception as error:  # noqa: BLE001  # onnxruntime's own errors share no base class; each caller hears of it
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                future.set_result(answer)


SENTENCE = json.dumps({"error": "too many connections are open: ask again in a second."}).encode()
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: application/json; charset=utf-8\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(SENTENCE), SENTENCE)
)


class Server(ThreadingHTTPServer):
    """A thread for each connection, and no more of them than `max_connections`."""

    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, address: tuple[str, int], models: dict[str, Batcher], max_connections: int = MAX_CONNECTIONS):
        super().__init__(address, Handler)
        self.models, self.free = models, threading.BoundedSemaphore(max_connections)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.free.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with contextlib.suppress(OSError):
            request.sendall(BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that is gone is no error of the server's."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Timed(socket.SocketIO):
    """What a connection sends, until a moment: however slowly it comes, waiting for it ends."""

    def __init__(self, connection: socket.socket):
        super().__init__(connection, "r")
        self.connection, self.until = connection, 0.0

    def readinto(self, buffer: Any) -> int | None:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        return super().readinto(buffer)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version, server_version, sys_version = "HTTP/1.1", "reprise", ""

    def setup(self) -> None:
        super().setup()
        self.timed = Timed(self.connection)
        self.rfile = io.BufferedReader(self.timed)

    def handle_one_request(self) -> None:
        self.timed.until = time.monotonic() + TIMEOUT_S
        super().handle_one_request()

    def do_GET(self) -> None:
        self.reply(self.describe)

    def do_HEAD(self) -> None:
        self.reply(self.describe)

    def do_POST(self) -> None:
        self.reply(self.answer)

    def refuse_method(self) -> None:
        self.close_connection = True  # whatever body it has is not read
        self.reply(self.say_methods)

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = refuse_method  # noqa: N815

    def say_methods(self) -> dict[str, Any]:
        raise Rejected(HTTPStatus.METHOD_NOT_ALLOWED, f"{self.command} is not known here: GET a model's signature, or POST its inputs")

    def describe(self) -> dict[str, Any]:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.read_body()
        return {"models": sorted(self.server.models)} if self.name == "" else self.find().model.signature

    def answer(self) -> dict[str, Any]:
        body = self.read_body()  # first, so that the connection can be used again whatever becomes of it
        batcher = self.find()
        if not body:
            raise Rejected(HTTPStatus.BAD_REQUEST, "the body is empty")
        try:
            items = items_of(body, self.headers.get_content_type(), batcher.model.signature)
        except predict.Refused as error:
            raise Rejected(HTTPStatus.BAD_REQUEST, str(error)) from error
        return {"answers": batcher.ask(items)}

    @property
    def name(self) -> str:
        """Of the model in the address."""
        try:
            return urllib.parse.unquote(urllib.parse.urlsplit(self.path).path.strip("/"))
        except ValueError as error:
            raise Rejected(HTTPStatus.BAD_REQUEST, f"the address is none ({error})") from error

    def find(self) -> Batcher:
        if self.name not in self.server.models:
            known = ", ".join(sorted(self.server.models))
            raise Rejected(HTTPStatus.NOT_FOUND, f"there is no model {self.name!r}; known: {known}")
        return self.server.models[self.name]

    def reply(self, make: Any) -> None:
        try:
            content = make()
        except Rejected as error:
            self.send_json(error.status, {"error": f"{error}."})
        except (ConnectionError, TimeoutError):  # the caller has gone
            raise
        except Exception as error:
            self.send_json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"the model failed ({type(error).__name__}: {first_line(error)})."})
            raise
        else:
            self.send_json(HTTPStatus.OK, content)

    def read_body(self) -> bytes:
        length = self.content_length()
        if length > MAX_BODY:
            self.close_connection = True
            self.drain(length)
            raise too_large(length)
        self.timed.until, body = time.monotonic() + TIMEOUT_S, bytearray()
        try:
            while len(body) < length:
                if not (piece := self.rfile.read1(min(1 << 16, length - len(body)))):
                    self.close_connection = True
                    raise Rejected(HTTPStatus.BAD_REQUEST, f"the body ended after {len(body):,} of its {length:,} bytes")
                body += piece
        except TimeoutError as error:
            self.close_connection = True
            sentence = f"of the body's {length:,} bytes {len(body):,} came within {TIMEOUT_S:g} s"
            raise Rejected(HTTPStatus.REQUEST_TIMEOUT, sentence) from error
        return bytes(body)

    def content_length(self) -> int:
        """Of the body. Where head and body cannot be told apart for certain the connection ends: a proxy might see another request."""
        given = self.headers.get_all("Content-Length") or []
        is_last, self.close_connection = self.close_connection, True
        if any(isinstance(defect, email.errors.MissingHeaderBodySeparatorDefect) for defect in self.headers.defects):
            raise Rejected(HTTPStatus.BAD_REQUEST, "the head has a line that is no header")
        if not given or "Transfer-Encoding" in self.headers:
            raise Rejected(HTTPStatus.LENGTH_REQUIRED, "the body's length must be said before it comes, in Content-Length")
        if len(given) > 1 or not (given[0].isascii() and given[0].isdigit() and len(given[0]) <= MAX_DIGITS):
            raise Rejected(HTTPStatus.BAD_REQUEST, f"Content-Length is {', '.join(given)[:40]}, which is no number of bytes")
        self.close_connection = is_last
        return int(given[0])

    def drain(self, length: int) -> None:
        """Reads what is not wanted: a connection that is closed on its sender takes the answer with it."""
        left, self.timed.until = min(length, MAX_DRAINED), time.monotonic() + TIMEOUT_S
        with contextlib.suppress(OSError):
            while left > 0 and (piece := self.rfile.read1(min(1 << 16, left))):
                left -= len(piece)

    def handle_expect_100(self) -> bool:
        """Who asks first is told before a body is sent that would not be read."""
        try:
            if (length := self.content_length()) > MAX_BODY:
                raise too_large(length)
        except Rejected as error:
            self.close_connection = True
            self.send_json(error.status, {"error": f"{error}."})
            return False
        return super().handle_expect_100()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses is said as JSON too."""
        self.close_connection, self.request_version = True, self.protocol_version  # which is not known yet where the first line is wrong
        self.send_json(HTTPStatus(code), {"error": f"{message or HTTPStatus(code).description or HTTPStatus(code).phrase}."})

    def send_json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")  # a text may hold half a character
        self.connection.settimeout(TIMEOUT_S)
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Content-Type-Options", "nosniff")
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD, POST")
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)


def too_large(length: int) -> Rejected:
    return Rejected(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has {length:,} bytes; {MAX_BODY:,} are read at most")


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


# What a body holds


def items_of(body: bytes, content_type: str, signature: dict[str, Any]) -> list[predict.Item]:
    """The inputs in a body. Raises Refused where one is none."""
    if signature["kind"] == "image":
        if content_type == "application/json":
            raise predict.Refused("this model takes a picture: send the file's bytes as the body")
        if content_type.startswith("multipart/"):
            raise predict.Refused("the body is a form: send the picture's bytes alone (curl --data-binary @picture.png)")
        with DECODING:
            return [predict.as_picture(io.BytesIO(body), "the picture", signature)]
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise predict.Refused(f"the body is no text in UTF-8 ({error})") from error
    is_json = content_type == "application/json"
    inputs = from_json(text, signature) if is_json else text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    items = [read() for read in islice(readers_of(inputs, signature, is_json), MAX_INPUTS + 1)]
    if not 0 < len(items) <= MAX_INPUTS:
        raise predict.Refused(f"the body has {'too many inputs' if items else 'no input'}; 1 to {MAX_INPUTS} are answered at once")
    return items


def readers_of(inputs: list[Any], signature: dict[str, Any], is_json: bool) -> Iterable[Reader]:
    if signature["kind"] == "characters":
        return [partial(text_of, line, place, signature) for place, line in enumerate(inputs, start=1)]
    names = [feature["name"] for feature in signature["features"]]
    if is_json:
        return [row_reader(row, f"row {place}", names) for place, row in enumerate(inputs, start=1)]
    return predict.rows_of(inputs, "the body", names)


def text_of(line: str, place: int, signature: dict[str, Any]) -> predict.Item:
    try:
        return predict.as_characters(line, signature)
    except predict.Refused as error:
        raise predict.Refused(f"text {place}: {error}") from error


def from_json(text: str, signature: dict[str, Any]) -> list[Any]:
    wanted, kind = (str, "texts") if signature["kind"] == "characters" else (list | dict, "rows")
    try:
        content = json.loads(text, parse_int=float, object_pairs_hook=without_twins)
    except RecursionError as error:
        raise predict.Refused("the body is nested too deeply") from error
    except ValueError as error:
        raise predict.Refused(f"the body is no JSON ({error})") from error
    if not isinstance(content, list) or not all(isinstance(one, wanted) for one in content):
        raise predict.Refused(f"the body is no list of {kind}")
    return content


def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise predict.Refused(f"the body has {twice[0]!r} twice in one object")
    return dict(pairs)


def row_reader(row: list[Any] | dict[str, Any], what: str, names: list[str]) -> Reader:
    """Of one row of JSON; null is missing."""
    if isinstance(row, dict):
        if unknown := sorted(set(row) - set(names)):
            raise predict.Refused(f"{what} has {unknown[0]!r}, which is no feature; the model takes {', '.join(names)}")
        if missing := [name for name in names if name not in row]:
            raise predict.Refused(f"{what} has no {', '.join(missing)}: say null where a value is missing")
        row = [row[name] for name in names]
    return partial(predict.as_row, what, ["" if value is None else str(value) for value in row], names, names)


# The command line


def load(paths: list[Path], threads: int) -> dict[str, Batcher]:
    """By name; each has given its golden outputs. Raises Refused where one does not, or is none."""
    models = predict.models_below(paths, threads)
    for name, (file, model) in models.items():
        if name == model.signature["model"]:  # a variant differs from its model
            check_golden(model, str(file))
    return {name: Batcher(model) for name, (_, model) in models.items()}


def check_golden(model: predict.Model, path: str) -> None:
    golden = model.signature["golden"]
    names = list(golden["outputs"])
    outputs = model.session.run(names, {model.signature["input"]["name"]: as_numbers(golden["input"])})
    for name, output in zip(names, outputs, strict=True):
        worst = float(np.abs(output - as_numbers(golden["outputs"][name])).max())
        if not worst <= TOLERANCE:
            raise predict.Refused(f"{path}: {name} of its golden input differs by {worst:g}: this onnxruntime computes something else")


def as_numbers(array: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(array["base64"]), dtype=array["dtype"]).reshape(array["shape"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--threads", type=int, default=0, help="of each model; default: all cores")
    arguments = parser.parse_args()
    if not 0 <= arguments.threads <= MAX_THREADS:
        parser.error(f"--threads is a number from 0, all cores, to {MAX_THREADS}")
    try:
        models = load(arguments.paths, arguments.threads)
        server = Server((arguments.host, arguments.port), models)
    except predict.Refused as error:
        sys.exit(f"error: {error}.")
    except socket.gaierror as error:
        sys.exit(f"error: {arguments.host} is no address of this machine ({error.strerror}): name another with --host.")
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such port"
        sys.exit(f"error: {arguments.host}:{arguments.port} cannot be had ({reason}): name another with --port, or --host.")
    with server, contextlib.suppress(KeyboardInterrupt):
        print(f"http://{arguments.host}:{server.server_port} serves {', '.join(models)} (Ctrl-C ends it)", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
