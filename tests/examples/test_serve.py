"""examples/serve.py: exported models over HTTP on loopback. Asked by real clients, and by some that mean no good."""

import asyncio
import contextlib
import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import requests
from fastapi import HTTPException
from PIL import Image

from examples import predict, serve
from stages.exporting.forms import with_metadata
from stages.exporting.parity import run_torch
from stages.exporting.section import Ink
from tests.examples.test_predict import with_signature
from tests.exported import exported, exported_toy
from tests.toy import ROOT

TOYS = ("numbers", "patients", "shapes", "spots", "words", "codes", "yachts")
WAIT = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models of every kind, as files, one of them of drawings."""
    folder = tmp_path_factory.mktemp("models")
    for name in TOYS:
        (folder / f"{name}.onnx").write_bytes(exported_toy(name).onnx)
    digits = exported("mnist_cnn")
    drawings = digits.signature.model_copy(update={"ink": Ink(longer_side=20)})
    (folder / "mnist_cnn.onnx").write_bytes(with_metadata(digits.onnx, drawings))
    return folder


@contextmanager
def serving(models) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = serve.server_of(serve.application(models, {"localhost", "models.example"}))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(WAIT)


@pytest.fixture(scope="module")
def models(folder):
    return serve.load([folder], threads=1)


@pytest.fixture(scope="module")
def address(models):
    with serving(models) as address:
        yield address


def ask(address, model, body, content_type=None, **headers):
    headers |= {"Content-Type": content_type} if content_type else {}
    return requests.post(f"{address}/{model}", data=body, headers=headers, timeout=WAIT)


def as_png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG")
    return file.getvalue()


def refusal(answer, status=400) -> str:
    assert answer.status_code == status and answer.headers["Content-Type"] == "application/json"
    content = answer.json()
    assert content.keys() == {"error"} and content["error"].endswith(".") and "\n" not in content["error"]
    return content["error"]


def connected(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=WAIT)


def exchange(address: str, sent: bytes) -> bytes:
    """What a client that sends just these bytes hears until the server closes the connection."""
    heard = b""
    with connected(address) as connection:
        connection.sendall(sent)
        while piece := connection.recv(1 << 16):
            heard += piece
    return heard


# What is answered


def test_a_picture_that_takes_too_long_ends_and_the_next_one_is_answered(address, monkeypatch):
    large = as_png(np.zeros((4000, 4000), dtype=np.uint8))
    small = as_png(np.zeros((8, 8), dtype=np.uint8))
    assert ask(address, "shapes", small).status_code == 200
    monkeypatch.setattr(serve, "DECODING_S", 0.0)
    assert refusal(ask(address, "shapes", large)) == "the body takes longer to read, or more memory, than any that is answered."
    monkeypatch.undo()
    assert ask(address, "shapes", small).status_code == 200 == ask(address, "shapes", large).status_code


def test_the_models_and_their_signatures_can_be_read(address):
    assert requests.get(address, timeout=WAIT).json() == {"models": sorted([*TOYS, "mnist_cnn"])}
    answer = requests.get(f"{address}/words/?x=1", timeout=WAIT)
    assert answer.json() == exported_toy("words").signature.model_dump() and answer.headers["X-Content-Type-Options"] == "nosniff"
    head = requests.head(f"{address}/words", timeout=WAIT)
    assert head.content == b"" and head.headers["Content-Length"] == answer.headers["Content-Length"]


def test_every_kind_of_input_is_answered_and_says_what_was_done_to_it(address):
    own, page = exported_toy("shapes"), np.full((80, 60), 250, dtype=np.uint8)
    (answer,) = ask(address, "shapes", as_png(own.batch(1)[0])).json()["answers"]
    probabilities, label = run_torch(own.model, own.batch(1))
    assert answer["label"] == own.model.meta.classes[label[0]]
    np.testing.assert_allclose(list(answer["probabilities"].values()), probabilities[0], atol=1e-5)
    page[20:60, 28:33] = 10
    (answer,) = ask(address, "mnist_cnn", as_png(page)).json()["answers"]
    assert answer["note"] == "dark on light: inverted, cut out and centred" and answer["label"] in "0123456789"
    (answer,) = ask(address, "codes", "abc").json()["answers"]
    assert len(answer["text"]) == 3
    (answer,) = ask(address, "spots", as_png(exported_toy("spots").batch(1)[0])).json()["answers"]
    assert list(answer["prediction"]) == exported_toy("spots").signature.numbers


def test_rows_are_taken_as_csv_and_as_json(address):
    objects = [{"a": 1, "b": 2, "c": 3}, {"a": None, "b": 4, "c": 5}]
    bodies = [
        ("1,2,3\n,4,5\n", None),
        ("1,2,3\r\n,4,5\r\n", None),
        ("c,a,b\n3,1,2\n5,,4\n", "text/csv"),
        (json.dumps([[1, 2, 3], [None, 4, 5]]), "application/json"),
        (json.dumps(objects), "application/json; charset=utf-8"),
    ]
    first, *others = [ask(address, "patients", *body).json() for body in bodies]
    assert others == [first] * 4
    expected, _ = run_torch(exported_toy("patients").model, np.array([[1, 2, 3], [np.nan, 4, 5]], dtype=np.float32))
    np.testing.assert_allclose([list(answer["probabilities"].values()) for answer in first["answers"]], expected, atol=1e-5)


def test_a_number_that_overflows_is_null(tmp_path):
    """Weights that are larger than a float can hold with the input."""
    proto = onnx.load_model_from_string(exported_toy("numbers").onnx)
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and "network" in tensor.name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) + np.float32(1e30), tensor.name))
    (tmp_path / "numbers.onnx").write_bytes(proto.SerializeToString())
    with serving({"numbers": predict.Model(str(tmp_path / "numbers.onnx"))}) as address:
        (answer,) = ask(address, "numbers", "3e38").json()["answers"]
    assert answer["prediction"] == {"y": None}
    assert predict.in_words(answer) == "y no finite number"


def test_a_connection_is_used_again_after_an_answer_and_after_a_refusal(address):
    statuses = []
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=WAIT)
    for path, body in (("/words", b"Ab"), ("/nothing", b"x" * 1000), ("/words", b""), ("/words", b"x" * 3_000_000), ("/words", b"Ab")):
        connection.request("POST", path, body)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
        assert connection.sock is not None, "the server has closed it"
    connection.close()
    assert statuses == [200, 404, 400, 413, 200]


# Together


class Held:
    """A model that answers when it is let, and notes the sizes of its batches."""

    def __init__(self, model):
        self.signature, self.model, self.sizes = model.signature, model, []
        self.begun, self.let = threading.Event(), threading.Event()

    def answer(self, batch):
        self.sizes.append(len(batch))
        self.begun.set()
        assert self.let.wait(WAIT)
        return self.model.answer(batch)


@pytest.fixture
def held(models):
    return Held(models["words"])


def test_what_comes_while_a_batch_is_computed_is_computed_together_and_too_much_is_refused(held, monkeypatch):
    monkeypatch.setattr(serve, "MAX_WAITING", 8)
    items = [predict.as_characters("ab" * length, held.signature) for length in range(1, 10)]

    async def scenario():
        batcher = serve.Batcher(held)
        first = asyncio.create_task(batcher.ask(items[:1]))
        assert await asyncio.to_thread(held.begun.wait, WAIT)
        others = [asyncio.create_task(batcher.ask([item])) for item in items[1:]]
        await asyncio.sleep(0)  # each of them has run until it waits
        with pytest.raises(HTTPException) as refused:
            await batcher.ask(items[:1])
        held.let.set()
        return refused.value, [answer for (answer,) in await asyncio.gather(first, *others)]

    refused, answers = asyncio.run(scenario())
    assert (refused.status_code, refused.detail) == (503, "too many inputs wait for this model: ask again in a second")
    assert held.sizes == [1, 8]
    for got, item in zip(answers, items, strict=True):
        (wanted,) = held.model.answer([item.values])
        np.testing.assert_allclose(list(got["probabilities"].values()), list(wanted["probabilities"].values()), atol=1e-5)


def test_who_has_waited_too_long_is_told_and_is_not_computed_any_more(held, monkeypatch):
    with serving({"words": held}) as address:
        monkeypatch.setattr(serve, "WAIT_S", 0.2)
        for _ in range(3):
            assert refusal(ask(address, "words", "Ab"), 503) == "there was no answer within 0.2 s: ask again in a second."
        monkeypatch.setattr(serve, "WAIT_S", WAIT)
        held.let.set()
        assert ask(address, "words", "Ab").status_code == 200
    assert held.sizes == [1, 1]


def test_what_fails_in_the_model_is_heard_by_each_caller_and_the_next_are_answered(held, capfd):
    held.let.set()
    works, held.model = held.model, None
    with serving({"words": held}) as address:
        assert refusal(ask(address, "words", "Ab"), 500).startswith("the model failed (AttributeError: 'NoneType' object has no attribute")
        held.model = works
        assert ask(address, "words", "Ab").status_code == 200
    assert "Traceback" in capfd.readouterr().err, "the operator sees where"


@pytest.mark.parametrize("body", [b"Ab", b"A"])
def test_a_caller_who_has_gone_is_no_failure(held, capfd, body):
    """After the whole body, or in the midst of it."""
    with serving({"words": held}) as address:
        with connected(address) as connection:
            connection.sendall(b"POST /words HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n" + body)
            assert len(body) == 1 or held.begun.wait(WAIT)
        held.let.set()
        assert ask(address, "words", "Ab").status_code == 200
    assert capfd.readouterr().err == "" and sum(held.sizes) == len(body), "half a body is not computed"


# Who is answered


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8001", "LOCALHOST", "[::1]:8001", "192.0.2.7:80", "models.example"])
def test_requests_to_addresses_and_own_names_are_answered(address, host):
    assert ask(address, "words", "Ab", Host=host, Origin=f"http://{host}").status_code == 200


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"Host": "evil.example:8001"}, "'evil.example' is not a name of this server: "),
        ({"Host": "127.0.0.1.evil.example"}, "'127.0.0.1.evil.example' is not a name of this server: "),
        ({"Host": ""}, "'' is not a name of this server: "),
        ({"Origin": "http://evil.example"}, "pages of http://evil.example may not ask this server."),
        ({"Origin": "http://127.0.0.1:1"}, "pages of http://127.0.0.1:1 may not ask this server."),
        ({"Origin": "null"}, "pages of null may not ask this server."),
    ],
)
def test_other_sites_pages_and_names_that_are_pointed_here_are_refused(address, headers, named):
    assert refusal(ask(address, "words", "Ab", **headers), 403).startswith(named)
    assert refusal(requests.get(address, headers=headers, timeout=WAIT), 403).startswith(named)
    answer = requests.options(f"{address}/words", headers=headers, timeout=WAIT)
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


# What is refused


JSON, NOT_FINITE = "application/json", "which is not a finite number"
PAIRS = [f'"{place:x}":1' for place in range(70_000)]


@pytest.mark.parametrize(
    ("model", "body", "content_type", "named"),
    [
        ("shapes", b"no picture", None, "the picture cannot be read as a picture: of no format that is read"),
        ("shapes", b"", None, "the body is empty."),
        ("shapes", b"--x", "multipart/form-data; boundary=x", "this model takes a picture: send the file's bytes as the body"),
        ("mnist_cnn", as_png(np.full((50, 50), 200, dtype=np.uint8)), None, "the picture shows no drawing"),
        ("patients", "a,b,c", None, "the body has no input; 1 to 256 are answered at once"),
        ("patients", "A,B,C\n1,2,3", None, "the body begins with neither the names of columns (a, b, c) nor such a row"),
        ("patients", '1,2,3\n1,2,"3\n1,2,3\n', None, "the body is no CSV from line 3 on, or in a quoted cell that begins before"),
        ("patients", "1,2,3\n" * 257, None, "the body has too many inputs; 1 to 256 are answered at once"),
        ("patients", str(ROOT / "dvc.yaml"), None, "the body begins with neither the names of columns"),
        ("patients", json.dumps([[1, 2, 3]] * 257), JSON, "the body has too many inputs; 1 to 256 are answered at once"),
        ("patients", "[[1, 2]]", JSON, "row 1 has 2 numbers, expected 3: a, b, c"),
        ("patients", "[[1, 2, true]]", JSON, f"row 1: c is 'True', {NOT_FINITE}"),
        ("patients", "[[1, 2, NaN]]", JSON, f"row 1: c is 'nan', {NOT_FINITE}"),
        ("patients", "[[1, 2, " + "9" * 5000 + "]]", JSON, f"row 1: c is 'inf', {NOT_FINITE}"),
        ("patients", '[{"a": 1, "b": 2}]', JSON, "row 1 has not just the names a, b, c: say null where a value is missing"),
        ("patients", '{"inputs": [[1, 2, 3]]}', JSON, "the body is not a list of rows"),
        ("patients", "[[1, 2", JSON, "the body is no JSON in UTF-8 ("),
        ("patients", "[" * 100_000, JSON, "the body is nested too deeply"),
        ("patients", "[]", JSON, "the body has no input; 1 to 256 are answered at once"),
        ("words", '["\\ud800"]', JSON, "'\\ud800' is unknown to the model"),
        ("words", "a" * 1001, None, "the text 'aaaaaaaaaaaaaaaaaaaa'… has 1,001 characters; 1,000 are read at most"),
        ("words", "Ab\n\nBa", None, "'' is unknown to the model: no character"),
        ("words", b"\xff\xfe", None, "the body is no text in UTF-8 ("),
        ("words", '["Ab", 3]', JSON, "the body is not a list of texts"),
        ("codes", "zzz", None, "'zzz' has z; the model knows only"),
        # What takes time squared takes minutes to days of these: longer than the client waits.
        ("words", "a" + "\u0315\u0300" * 400_000, None, "the text 'a"),
        ("words", "\n" * 2_000_000, None, "'' is unknown to the model"),
        (
            "patients",
            ",".join(["a"] * 900_000),
            None,
            "the body has 900,000 columns; the model takes 3, and at most 10,000 others are left out",
        ),
        ("patients", f"[{{{','.join(PAIRS)}}}]", JSON, "row 1 has not just the names a, b, c"),
        ("patients", "[" + "[]," * 600_000 + "[]]", JSON, "row 1 has 0 numbers, expected 3"),
        ("patients", "[[1, 2, " + json.dumps("x" * 1_900_000) + "]]", JSON, "row 1: c is 'xxx"),
    ],
    ids=range(31),
)
def test_what_does_not_fit_is_refused_soon_and_in_a_short_sentence(address, model, body, content_type, named):
    sentence = refusal(ask(address, model, body.encode() if isinstance(body, str) else body, content_type))
    assert sentence.startswith(named) and len(sentence) <= serve.MAX_SENTENCE + 1


def test_what_is_no_model_is_not_found(address):
    for path in ("/etc/passwd", "/../words", "/", "/a%00b", "/openapi.json"):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\nAb"
        head, _, body = exchange(address, head.encode()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404 ") and json.loads(body)["error"].startswith("there is no model '"), path


@pytest.mark.parametrize(
    ("head", "status", "named"),
    [
        (b"POST /words", 411, "the body's length must be said before it comes, in Content-Length."),
        (b"POST /words|Transfer-Encoding: chunked", 411, "the body's length must be said"),
        (b"GET /words|Content-Length: 2|Transfer-Encoding: chunked", 411, "the body's length must be said"),
        (b"DELETE /words|Content-Length: 2|Transfer-Encoding: chunked", 405, "Method Not Allowed."),
        (b"POST /words|Content-Length: 9999999|Expect: 100-continue", 413, "the body has 9,999,999 bytes; 2,000,000 are read at most."),
        (b"POST /words|Content-Length: 5||ab", 408, "of the body's 5 bytes 2 came within 0.5 s."),
        (b"POST /words|Content-Length: -5", 400, ""),
        (b"POST /words|Content-Length: " + b"9" * 5000, 400, ""),
        (b"POST /words|Content-Length: 2|Content-Length: 3", 400, ""),
        (b"POST /words|X: y\rContent-Length: 2", 400, ""),
        (b"POST /words|Host: other", 400, ""),
        (b"GET http://[|Connection: close", 404, "Not Found."),
    ],
)
def test_what_http_does_not_know_is_refused_and_no_second_request_is_read_from_it(address, monkeypatch, head, status, named):
    """Where the body ends is not certain: a proxy might see another request than the server."""
    monkeypatch.setattr(serve, "TIMEOUT_S", 0.5)
    line, *others = head.split(b"|")
    sent = b"\r\n".join([line + b" HTTP/1.1", b"Host: localhost", *others, b"", b""]).removesuffix(b"\r\n\r\n" if status == 408 else b"")
    second = b"" if status == 408 else b"0\r\n\r\nGET /words HTTP/1.1\r\nHost: localhost\r\n\r\n"
    heard = exchange(address, sent + second)
    assert heard.startswith(b"HTTP/1.1 %d " % status) and heard.count(b"HTTP/1.1") == 1
    body = heard.partition(b"\r\n\r\n")[2]
    assert b"onnection: close" in heard and (not named or json.loads(body)["error"].startswith(named))


def test_the_body_of_a_get_is_no_second_request(address):
    inner = b"GET /words HTTP/1.1\r\nHost: localhost\r\n\r\n"
    heard = exchange(address, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner)
    assert heard.count(b"HTTP/1.1 200") == 1 and heard.count(b"HTTP/1.1") == 1


TOO_LARGE = b"POST /words HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"


@pytest.mark.parametrize("start", [b"POST /words HTTP/1.1\r\n", TOO_LARGE])
def test_a_head_or_a_refused_body_that_comes_too_slowly_ends_the_connection(address, monkeypatch, start):
    """Each byte well within the time that the whole has."""
    monkeypatch.setattr(serve, "TIMEOUT_S", 0.3)
    with connected(address) as connection:
        connection.sendall(start)
        connection.settimeout(0.05)
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError, ConnectionError):
                if not connection.recv(1000):
                    return
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"X: 1\r\n")
    pytest.fail("the connection was never closed")


def test_more_connections_than_are_served_are_turned_away_and_come_later(models, monkeypatch):
    monkeypatch.setattr(serve, "MAX_CONNECTIONS", 1)
    with serving({"words": models["words"]}) as address:
        with connected(address) as held:
            held.sendall(b"GET /words HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert held.recv(1000).startswith(b"HTTP/1.1 200 ")
            assert exchange(address, b"").startswith(b"HTTP/1.1 503 ")
        for _ in range(1000):  # until the server has seen that the first is gone
            with contextlib.suppress(requests.ConnectionError):
                if ask(address, "words", "Ab").status_code == 200:
                    break
        else:
            pytest.fail("the place was never free again")


# The command


def test_the_command_serves_on_loopback_until_it_is_told_to_end(folder):
    command = [sys.executable, str(ROOT / "examples" / "serve.py"), str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        said = server.stdout.readline()
        address = said.split()[0]
        assert address.startswith("http://127.0.0.1:") and "words" in said
        assert ask(address, "words", "Ab").status_code == 200
        server.send_signal(signal.SIGINT)
        assert server.wait(WAIT) == 0
        assert server.stderr.read() == ""


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["."], "error: there is no *.onnx below .."),
        (["a.onnx", "b.onnx"], "error: b.onnx is a second words: name one of them."),
        (["wrong.onnx"], "error: wrong.onnx: its golden input cannot be answered (KeyError: 'outputs')."),
        (["a.onnx", "--host", "192.0.2.1"], "error: 192.0.2.1:8001 cannot be bound ("),
    ],
)
def test_a_mistake_on_the_command_line_is_refused_in_a_sentence(tmp_path, monkeypatch, given, named):
    monkeypatch.chdir(tmp_path)
    if given != ["."]:
        (tmp_path / "a.onnx").write_bytes(exported_toy("words").onnx)
        (tmp_path / "b.onnx").write_bytes(exported_toy("words").onnx)
        (tmp_path / "wrong.onnx").write_bytes(with_signature("words", lambda signature: signature["golden"].pop("outputs")))
    monkeypatch.setattr("sys.argv", ["serve.py", *given])
    with pytest.raises(SystemExit) as ended:
        serve.main()
    assert str(ended.value.code).startswith(named)
