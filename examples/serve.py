"""Serves exported models over HTTP, with FastAPI, uvicorn and predict.py beside it: pip install -r requirements.txt fastapi uvicorn

    python serve.py MODEL.onnx [...] [--host HOST] [--port PORT]          (a folder stands for every *.onnx below it)

    GET  /                 the names of the models
    GET  /MODEL            its signature: all that there is to know of it
    HEAD                   as GET
    POST /MODEL            asks it; the body is a picture (which needs pictures.py too), or the lines of a CSV file, or texts, one a line;
                           as application/json also a list of rows ([1, null, ...] or {"name": 1, ...}) or of texts. A table with words,
                           which needs rows.py and cells.py too, takes a file like its own (Parquet needs parquet.py and pyarrow), or
                           rows by name; texts of any script need texts.py too

An answer is JSON: {"answers": [...]}, one for each input, as predict.py --json prints them, or {"error": "a sentence"} with a status of 400
or more (what is not HTTP, and one connection too many, get a status alone). It listens on loopback unless --host says otherwise. Anyone
who reaches the port may ask, except pages of other sites; passwords and TLS are a reverse proxy's work.
"""

import argparse
import asyncio
import io
import json
import multiprocessing
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from uvicorn.protocols.http.h11_impl import H11Protocol

try:
    import predict  # beside this file
except ImportError:  # imported from the repository's root
    from examples import predict

MAX_PICTURE, MAX_TEXT = 10_000_000, 2_000_000  # bytes of a picture, of rows or texts
MAX_INPUTS, MAX_BATCH, MAX_WAITING = 256, 64, 1024  # inputs of a request, of a batch, and that wait for a model
MAX_CONNECTIONS, MAX_SENTENCE = 64, 500
TIMEOUT_S, WAIT_S = 10.0, 30.0  # for a head, for a body, and for taking an answer; for giving it
ADDRESS = re.compile(r"[\d.]+|\[[\da-f:.]+\]")  # IPv4, IPv6
PICTURES, TEXTS = ThreadPoolExecutor(2), ThreadPoolExecutor(2)  # bodies that are read at the same time
DECODING_S, DECODING_BYTES = 10.0, 2 << 30  # of the process that decodes a picture: the largest take 3 s and 1.2 GB


class Batcher:
    """Computes the inputs of many requests together: while one batch is computed, the next one gathers."""

    def __init__(self, model: predict.Model):
        self.model = model
        self.worker: asyncio.Task[None] | None = None
        self.waiting: asyncio.Queue[tuple[predict.Values, asyncio.Future[dict[str, Any]]]] = asyncio.Queue()

    async def ask(self, items: list[predict.Item]) -> list[dict[str, Any]]:
        if self.waiting.qsize() + len(items) > MAX_WAITING:
            raise busy("too many inputs wait for this model")
        self.worker = self.worker or asyncio.create_task(self.work())
        futures = [asyncio.get_running_loop().create_future() for _ in items]
        for item, future in zip(items, futures, strict=True):
            self.waiting.put_nowait((item.values, future))
        answers = await asyncio.gather(*futures)
        if failures := [answer for answer in answers if isinstance(answer, Exception)]:
            raise failures[0]
        return [answer | ({"note": item.note} if item.note else {}) for item, answer in zip(items, answers, strict=True)]

    async def work(self) -> None:
        while True:
            batch = [await self.waiting.get()]
            while len(batch) < MAX_BATCH and not self.waiting.empty():
                batch.append(self.waiting.get_nowait())
            batch = [(values, future) for values, future in batch if not future.done()]  # nobody waits for the others any more
            try:
                answers = await asyncio.to_thread(self.model.answer, [values for values, _ in batch]) if batch else []
                pairs = list(zip(batch, answers, strict=True))
            except Exception as error:  # noqa: BLE001  # onnxruntime's own errors share no base class; each caller hears of it
                pairs = [(one, error) for one in batch]
            for (_, future), answer in pairs:
                if not future.done():
                    future.set_result(answer)


class Service:
    """Answers requests to these names of this machine, and to its addresses in numbers."""

    def __init__(self, models: dict[str, predict.Model], names: set[str]):
        self.batchers, self.names = {name: Batcher(model) for name, model in models.items()}, names

    async def admit(self, request: Request) -> None:
        """A browser lets any page send requests here, even under a name that the page's owner gives our address (DNS rebinding)."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        name = re.sub(r":\d*$", "", host.lower())
        if name not in self.names and not ADDRESS.fullmatch(name):
            raise HTTPException(403, f"{name!r} is not a name of this server: if it should be, start it with --name {name}")
        if origin is not None and origin.partition("://")[2] != host:
            raise HTTPException(403, f"pages of {origin} may not ask this server")
        if "transfer-encoding" in request.headers or (request.method == "POST" and "content-length" not in request.headers):
            raise HTTPException(411, "the body's length must be said before it comes, in Content-Length")

    async def handle(self, path: str, request: Request) -> Response:
        name = path.strip("/")
        if not name and request.method != "POST":
            return as_json({"models": sorted(self.batchers)})
        if name not in self.batchers:
            raise HTTPException(404, f"there is no model {name!r}; known: {', '.join(sorted(self.batchers))}")
        if request.method != "POST":
            return as_json(self.batchers[name].model.signature)
        return as_json({"answers": await self.answer(self.batchers[name], request)})

    async def answer(self, batcher: Batcher, request: Request) -> list[dict[str, Any]]:
        length, signature = int(request.headers["content-length"]), batcher.model.signature
        is_picture = signature["kind"] == "image"
        most = MAX_PICTURE if is_picture else MAX_TEXT
        if length > most:
            raise HTTPException(413, f"the body has {length:,} bytes; {most:,} are read at most")
        body, content_type = await read_body(request, length), request.headers.get("content-type", "").partition(";")[0].strip().lower()
        # A picture, or a table in Parquet, may be a thousand times as large as its file.
        pool, read = (PICTURES, DECODER.items_of) if is_picture or body.startswith(b"PAR1") else (TEXTS, items_of)
        try:
            async with asyncio.timeout(WAIT_S):
                return await batcher.ask(await asyncio.get_running_loop().run_in_executor(pool, read, body, content_type, signature))
        except TimeoutError as error:
            raise busy(f"there was no answer within {WAIT_S:g} s") from error


async def refuse(request: Request, error: Any) -> Response:
    """What is raised above, or by FastAPI, as JSON."""
    if isinstance(error, predict.Refused):
        error = HTTPException(400, str(error))
    elif not hasattr(error, "status_code"):
        error = HTTPException(500, f"the model failed ({predict.in_short(error)})")
    headers = dict(error.headers or {})
    if error.status_code in (408, 411) or {"expect", "transfer-encoding"} & {*request.headers}:
        headers["Connection"] = "close"  # where the body ends is not certain, or it does not come
    return as_json({"error": f"{error.detail[:MAX_SENTENCE]}."}, error.status_code, headers)


def application(models: dict[str, predict.Model], names: set[str]) -> FastAPI:
    service = Service(models, names)
    app = FastAPI(dependencies=[Depends(service.admit)], openapi_url=None)
    app.add_api_route("/{path:path}", service.handle, methods=["GET", "HEAD", "POST"])
    for kind in (predict.Refused, HTTPException, 404, 405, Exception):
        app.add_exception_handler(kind, refuse)
    return app


def busy(reason: str) -> HTTPException:
    return HTTPException(503, f"{reason}: ask again in a second", {"Retry-After": "1"})


def as_json(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(content, allow_nan=False), status, headers, "application/json")


# Bodies


async def read_body(request: Request, length: int) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while len(body) < length and (message := await request.receive())["type"] == "http.request":
                body += message["body"]
    except TimeoutError as error:
        raise HTTPException(408, f"of the body's {length:,} bytes {len(body):,} came within {TIMEOUT_S:g} s") from error
    if not length or len(body) < length:  # the caller has gone, and hears nothing
        raise HTTPException(400, "the body is empty")
    return bytes(body)


class Decoder(threading.local):
    """Reads pictures and Parquet in a process of its own, one for each thread; it is ended where one takes too much time or memory."""

    process: Any = None

    def items_of(self, *arguments: Any) -> list[predict.Item]:
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.ours, theirs = context.Pipe()
            self.process = context.Process(target=decode, args=(theirs,), daemon=True)
            self.process.start()
            theirs.close()
            self.ours.recv()  # it is ready
        answer: Any = predict.Refused("the body takes longer to read, or more memory, than any that is answered")
        try:
            self.ours.send(arguments)
            is_whole = self.ours.poll(DECODING_S)
            answer = self.ours.recv() if is_whole else answer
        except (EOFError, OSError):  # it has died
            is_whole = False
        if not is_whole:
            self.process.kill()
            self.process.join()
            self.process = None
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


DECODER = Decoder()


def decode(pipe: Any) -> None:
    """What Decoder starts. It ends when the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(ImportError, ValueError, OSError):  # where there are no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (DECODING_BYTES, DECODING_BYTES))
    with suppress(EOFError):
        pipe.send(True)
        while arguments := pipe.recv():
            try:
                pipe.send(items_of(*arguments))
            except predict.Refused as error:
                pipe.send(error)
            except Exception as error:  # noqa: BLE001  # the caller hears of it, and the others are answered
                pipe.send(predict.Refused(f"the body cannot be read ({predict.in_short(error)})"))


def items_of(body: bytes, content_type: str, signature: dict[str, Any]) -> list[predict.Item]:
    """The inputs in a body. Raises Refused where one of them is none."""
    is_json, names = content_type == "application/json", [feature["name"] for feature in signature["features"] or []]
    if signature["kind"] == "image":
        if is_json or content_type.startswith("multipart/"):
            raise predict.Refused("this model takes a picture: send the file's bytes as the body (curl --data-binary @picture.png)")
        return [predict.as_picture(io.BytesIO(body), "the picture", signature)]
    if signature["kind"] == "table":
        return rows_by_name(body, is_json, signature)
    inputs = parsed(body, is_json)
    if is_json and not (isinstance(inputs, list) and all(isinstance(one, list | dict if names else str) for one in inputs)):
        raise predict.Refused(f"the body is not a list of {'rows' if names else 'texts'}")
    found: Iterator[predict.Item | predict.Refused]
    if not names:
        found = (predict.as_codes(line.removesuffix("\n"), signature) for line in inputs)
    elif is_json:
        found = (as_row(row, f"row {place}", names) for place, row in enumerate(inputs, start=1))
    else:
        found = predict.rows_of(inputs, "the body", names)
    return taken(found)


def rows_by_name(body: bytes, is_json: bool, signature: dict[str, Any]) -> list[predict.Item]:
    """The rows of a table with words; the first one's note says which columns are ignored."""
    ignored, reader = list[str](), predict.row_reader().Reader(signature)
    if is_json:
        inputs = parsed(body, is_json)
        if not (isinstance(inputs, list) and all(isinstance(one, dict) for one in inputs)):
            raise predict.Refused('the body is not a list of rows by name: [{"name": value, ...}, ...]')
        rows = (reader.values(f"row {place}", row, ignored.append) for place, row in enumerate(inputs, start=1))
        items = taken(map(predict.as_item, rows))
    else:
        file = io.BufferedReader(io.BytesIO(body))
        items = taken(predict.rows_in(file, "the body", reader, ignored.append))
    note = "; ".join(filter(None, [items[0].note, *ignored[:1]]))
    return [items[0]._replace(note=note), *items[1:]]


def parsed(body: bytes, is_json: bool) -> Any:
    try:
        text = body.decode("utf-8-sig")
        return json.loads(text, parse_int=float) if is_json else io.StringIO(text, newline=None)
    except RecursionError as error:
        raise predict.Refused("the body is nested too deeply") from error
    except ValueError as error:
        raise predict.Refused(f"the body is no {'JSON' if is_json else 'text'} in UTF-8 ({error})") from error


def taken(found: Iterator[predict.Item | predict.Refused]) -> list[predict.Item]:
    items = []
    for item in islice(found, MAX_INPUTS + 1):
        if isinstance(item, predict.Refused):
            raise item
        items.append(item)
    if not 0 < len(items) <= MAX_INPUTS:
        raise predict.Refused(f"the body has {'too many inputs' if items else 'no input'}; 1 to {MAX_INPUTS} are answered at once")
    return items


def as_row(row: list[Any] | dict[str, Any], what: str, names: list[str]) -> predict.Item:
    """Of JSON, where null is missing."""
    if isinstance(row, dict):
        if row.keys() != set(names):
            raise predict.Refused(f"{what} has not just the names {', '.join(names)}: say null where a value is missing")
        row = [row[name] for name in names]
    return predict.as_row(what, ["" if value is None else str(value) for value in row], names, names)


# The server


class Connection(H11Protocol):
    """uvicorn's, which ends when it has had no request for TIMEOUT_S, however its bytes come."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.timer = self.loop.call_later(TIMEOUT_S, self.end)
        if len(self.connections) > MAX_CONNECTIONS:
            self.transport.write(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.timer.cancel()
        self.timer = self.loop.call_later(TIMEOUT_S, self.end)

    def end(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.timer.cancel()


def server_of(app: FastAPI) -> uvicorn.Server:
    """Its own log is of errors alone."""
    limits: dict[str, Any] = {"http": Connection, "ws": "none", "timeout_keep_alive": int(TIMEOUT_S), "timeout_graceful_shutdown": 1}
    headers = [("X-Content-Type-Options", "nosniff")]
    return uvicorn.Server(uvicorn.Config(app, **limits, proxy_headers=False, server_header=False, headers=headers, log_level="error"))


def load(paths: list[Path], threads: int) -> dict[str, predict.Model]:
    """By name. Raises Refused where one is none, or does not give its golden outputs."""
    models = predict.models_below(paths, threads)
    for name, model in models.items():
        if name == model.signature["model"]:  # a variant differs from its model
            model.check_golden()
    return models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--name", action="append", default=[], help="by which it may be asked, besides localhost and addresses in numbers")
    parser.add_argument("--threads", type=int, default=0, help="of each model; default: all cores")
    arguments = parser.parse_args()
    if not 0 <= arguments.port < 1 << 16:
        parser.error("--port is a number from 0, any free one, to 65535")
    try:
        models = load(arguments.paths, arguments.threads)
        listener = socket.create_server((arguments.host, arguments.port))
    except predict.Refused as error:
        sys.exit(predict.clean(f"error: {error}."))
    except OSError as error:
        sys.exit(f"error: {arguments.host}:{arguments.port} cannot be bound ({error.strerror}): name another with --port, or --host.")
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or a body waits 40 ms until its head is acknowledged
    print(f"http://{arguments.host}:{listener.getsockname()[1]} serves {', '.join(models)} (Ctrl-C ends it)", flush=True)
    with suppress(KeyboardInterrupt):
        server_of(application(models, {"localhost", arguments.host.lower(), *map(str.lower, arguments.name)})).run(sockets=[listener])


if __name__ == "__main__":
    main()
