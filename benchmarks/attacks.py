"""Attacks examples/serve.py and the readers of preprocess, each beside innocent requests, and measures what it costs.

Command: python -m benchmarks.attacks [FOLDER]          (default: models; it needs MODELS, exported)
Reads:   FOLDER, with *.onnx below it
Writes:  benchmarks/results/attacks.json

Of each attack: what it is, the limit that it meets, what the server answered, the seconds until then, the peak memory of the server and its
processes meanwhile, and how long innocent requests beside it took: rows of diabetes_mlp, one after another on one connection, for a second
at least. Files are made here, no network but loopback is used.
"""

import argparse
import contextlib
import gzip
import http.server
import io
import json
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests
from PIL import Image

from benchmarks.hardware import hardware, today, write_result
from examples import pictures
from stages.common.shown import as_shown
from stages.datasets import names
from stages.reading.fetch import RemoteFile, fetch
from stages.shell.errors import UserError

ROOT = Path(__file__).parents[1]
SIDE, MAX_SHOWN = 7000, 120
MODELS = {"mnist_cnn", "names_gru", "diabetes_mlp", "diabetes_table"}
ROW = "6,148,72,35,0,33.6,0.627,50"
JSON = {"Content-Type": "application/json"}


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    image.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


def scans(times: int) -> bytes:
    """A progressive JPEG whose last scan stands there so many times more."""
    content = encoded(Image.new("L", (SIDE, SIDE), 128), "JPEG", progressive=True)
    table, scan = content.rindex(b"\xff\xc4"), content.rindex(b"\xff\xda")
    return content[:-2] + content[table:scan] + content[scan:-2] * times + content[-2:]


def crumbs() -> bytes:
    """JPEG 2000 that says code blocks of 4x4 pixels: a few hundred bytes, gigabytes once opened."""
    content = bytearray(encoded(Image.new("RGB", (64, 64)), "JPEG2000", codeblock_size=(4, 4), num_resolutions=6, no_jp2=True))
    for place in (8, 24):
        struct.pack_into(">II", content, place, SIDE, SIDE)
    return bytes(content)


def with_chunk(kind: bytes, data: bytes) -> bytes:
    """A small PNG with one chunk more."""
    content = encoded(Image.new("L", (8, 8)), "PNG")
    return content[:33] + struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) + content[33:]


def strips(count: int) -> bytes:
    """A TIFF of which each pixel is a strip."""
    values = {256: 1, 257: count, 258: 8, 259: 1, 262: 1, 273: 9, 277: 1, 278: 1, 279: 9 + 4 * count}
    entries = b"".join(struct.pack("<HHII", tag, 4, count if tag in (273, 279) else 1, value) for tag, value in values.items())
    places, lengths = struct.pack("<I", 8) * count, struct.pack("<I", 1) * count
    return b"II*\0" + struct.pack("<I", 9 + 8 * count) + b"\0" + places + lengths + struct.pack("<H", 9) + entries + bytes(4)


def pictures_of_attackers() -> dict[str, tuple[str, bytes]]:
    """What each is, the limit that it meets, and the file."""
    clear = (255, 0, 0, 128)
    return {
        "JPEG of 600 scans": ("32 scans", scans(600)),
        "JPEG of 10 MB of 0xFF": ("100,000 bytes in no segment", b"\xff\xd8" + b"\xff" * 9_900_000),
        "JPEG of as many scans as are read": ("32 scans", scans(20)),
        "PNG, transparent, of 49 million pixels": ("50 million pixels", encoded(Image.new("RGBA", (SIDE, SIDE), clear), "PNG")),
        "PNG of 100 million pixels": ("50 million pixels", encoded(Image.new("L", (10_000, 10_000)), "PNG")),
        "PNG with 500 MB in a compressed text": (
            "Pillow's, of a megabyte",
            with_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(500_000_000))),
        ),
        "JPEG 2000, transparent, of 49 million pixels": ("50 million pixels", encoded(Image.new("RGBA", (SIDE, SIDE), clear), "JPEG2000")),
        "JPEG 2000 in code blocks of 16 pixels": ("1,024 pixels a block", crumbs()),
        "TIFF of a million strips": ("65,536 strips", strips(1_000_000)),
        "PPM in digits, of 10 MB": ("10 MB", b"P3 1200 1200 1 " + b"1 " * (3 * 1200 * 1200)),
    }


class Served:
    """examples/serve.py with the models of a folder, in a process whose memory is watched."""

    def __init__(self, folder: Path):
        models = [str(path) for path in sorted(folder.rglob("*.onnx")) if {path.stem, *path.parts} & MODELS]
        command = [sys.executable, str(ROOT / "examples" / "serve.py"), *models, "--port", "0", "--threads", "1"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[0]
        self.port = int(self.address.rpartition(":")[2])
        self.peak, self.is_over = 0, False
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self) -> None:
        server = psutil.Process(self.process.pid)
        while not self.is_over:
            total = 0
            for one in (server, *server.children()):
                try:
                    total += one.memory_info().rss
                except psutil.Error:  # it has ended
                    continue
            self.peak = max(self.peak, total)
            time.sleep(0.01)

    def ask(self, model: str, body: bytes, headers: dict[str, str] | None = None) -> str:
        answer = requests.post(f"{self.address}/{model}", data=body, headers=headers, timeout=120)
        return f"{answer.status_code}: {answer.json()['error'].rstrip('.')}" if answer.status_code >= 400 else str(answer.status_code)

    def raw(self, sent: bytes) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(sent)
            heard = b""
            while piece := connection.recv(1 << 16):
                heard += piece
        return f"{heard.count(b'HTTP/1.1 ')} answer, {heard[9:12].decode() or 'closed'}"

    def innocent(self, until: Callable[[], bool]) -> Iterator[float]:
        """The seconds of each of the requests that one honest client sends, one after another."""
        with requests.Session() as session:
            while not until():
                started = time.perf_counter()
                session.post(f"{self.address}/diabetes_mlp", data=ROW, timeout=120).raise_for_status()
                yield time.perf_counter() - started


def trickle(server: Served) -> str:
    """As many connections as there may be, none of which ends its head; a byte a second each."""
    with ThreadPoolExecutor(64) as pool:
        ended = list(pool.map(lambda _: slow_head(server.port), range(62)))
    return f"closed after {max(ended):.0f} s at the latest"


def slow_head(port: int) -> float:
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection, contextlib.suppress(OSError):
        while time.monotonic() - started < 60:
            connection.sendall(b"G")
            time.sleep(1)
    return time.monotonic() - started


def attacks_on(server: Served) -> dict[str, tuple[str, Callable[[], str]]]:
    accents = ("a" + "\u0315\u0300" * 240_000).encode()
    keys = "[{" + ",".join(f'"{place:x}":1' for place in range(120_000)) + "}]"
    smuggled = b"GET /names_gru HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    hidden = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\rContent-Length: %d\r\n\r\n%b" % (len(smuggled), smuggled)
    asked: dict[str, tuple[str, Callable[[], str]]] = {
        "text of 10 MB": ("2 MB", lambda: server.ask("names_gru", accents * 10)),
        "text of 960 kB of accents in alternating classes": ("4,000 characters", lambda: server.ask("names_gru", accents)),
        "CSV header that has one name 400,000 times": (
            "10,000 other columns",
            lambda: server.ask("diabetes_mlp", b",".join([b"Age"] * 400_000)),
        ),
        "JSON object of 120,000 names": ("the model's names", lambda: server.ask("diabetes_mlp", keys.encode(), JSON)),
        "CSV header of a million commas": ("100,000 cells", lambda: server.ask("diabetes_table", b"," * 1_000_000)),
        "JSON nested 900,000 deep": ("Python's", lambda: server.ask("diabetes_mlp", b"[" * 900_000, JSON)),
        "a Content-Length behind a bare CR": ("RFC 9112", lambda: server.raw(hidden)),
        "a request under a foreign name": ("the server's names", lambda: server.ask("names_gru", b"a", {"Host": "evil.example"})),
        "a request from a foreign page": ("the server's origin", lambda: server.ask("names_gru", b"a", {"Origin": "http://evil.example"})),
        "62 connections that never end their head": ("10 s", lambda: trickle(server)),
    }
    for name, (limit, content) in pictures_of_attackers().items():
        asked[name] = (limit, lambda content=content: server.ask("mnist_cnn", content))  # type: ignore[misc]
    four = encoded(Image.new("RGBA", (SIDE, SIDE), (255, 0, 0, 128)), "PNG")
    with_four = ThreadPoolExecutor(4)
    asked["four of these PNGs at once"] = (
        "two at a time",
        lambda: ", ".join(sorted(set(with_four.map(lambda _: server.ask("mnist_cnn", four)[:3], range(4))))),
    )
    return asked


def beside(server: Served, attack: Callable[[], str]) -> dict[str, Any]:
    times, heard, started = list[float](), list[str](), time.perf_counter()
    server.peak = 0
    attacker = threading.Thread(target=lambda: heard.append(attack()))
    attacker.start()
    for seconds in server.innocent(lambda: not attacker.is_alive() and time.perf_counter() - started > 1):
        times.append(seconds)
        if heard and len(heard) == 1:
            heard.append(str(time.perf_counter() - started))
    took = float(heard[1]) if len(heard) > 1 else time.perf_counter() - started
    return {
        "answer": as_shown("".join(one for one in heard[0] if not unicodedata.combining(one)), MAX_SHOWN),
        "s": round(took, 2),
        "peak_mb": round(server.peak / 1e6),
        "p99_ms": round(1000 * float(np.quantile(times, 0.99)), 1),
    }


def reader_attacks() -> Iterator[tuple[str, str, Callable[[], object]]]:
    for name, (limit, content) in pictures_of_attackers().items():
        yield name, limit, lambda content=content: pictures.decode(content)  # type: ignore[misc]
    yield "a name of a million accents", "4 times max_length", long_name
    yield "a download that does not end", "max_megabytes", endless


def long_name() -> None:
    with tempfile.TemporaryDirectory() as raw:
        with gzip.open(Path(raw, names.TRAIN_FILE), "wt", encoding="utf-8") as file:
            file.write("a" + "\u0315\u0300" * 500_000 + ",Nowhere\n" + "Ada,England\n" * 9)
        names.read(Path(raw), names.Preprocess(max_length=30, val_fraction=0.1, max_bad_fraction=0.5), seed=0)


def endless() -> None:
    """To `fetch`, which takes 10 MB at most here."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):  # its reader has had enough
                while True:
                    self.wfile.write(bytes(1 << 20))

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, tempfile.TemporaryDirectory() as raw:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            fetch(
                RemoteFile(path="a/a.gz", sha256="0" * 64, max_megabytes=10, urls=[f"http://127.0.0.1:{server.server_port}/a.gz"]),
                Path(raw),
            )
        finally:
            server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "models")
    server = Served(parser.parse_args().folder)
    result: dict[str, Any] = {"hardware": hardware(), "date": today(), "serve": {}, "read": {}}
    try:
        ends = time.perf_counter() + 3
        times = list(server.innocent(lambda: time.perf_counter() > ends))
        result["alone"] = {"requests_per_s": round(len(times) / 3), "p99_ms": round(1000 * float(np.quantile(times, 0.99)), 1)}
        for name, (limit, attack) in attacks_on(server).items():
            result["serve"][name] = {"limit": limit, **beside(server, attack)}
            print(name, json.dumps(result["serve"][name]), flush=True)
    finally:
        server.is_over = True
        server.process.kill()
    warnings.simplefilter("ignore")  # Pillow's, of large pictures
    for name, limit, work in reader_attacks():
        started, answer = time.process_time(), "read"
        try:
            work()
        except (pictures.BadPicture, UserError) as error:
            answer = as_shown(str(error), MAX_SHOWN)
        result["read"][name] = {"limit": limit, "answer": answer, "cpu_s": round(time.process_time() - started, 2)}
        print(name, json.dumps(result["read"][name]), flush=True)
    write_result("attacks", result)


if __name__ == "__main__":
    main()
