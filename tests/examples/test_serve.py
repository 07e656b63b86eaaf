"""examples/serve.py: exported models over HTTP on loopback. Asked by real clients, and by some that mean no good."""

import concurrent.futures
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
from PIL import Image

from examples import predict, serve
from stages.exporting.onnx_file import with_metadata
from stages.exporting.parity import run_torch
from stages.exporting.section import Ink
from tests.exported import exported, exported_toy
from tests.toy import ROOT

TOYS = ("numbers", "patients", "shapes", "spots", "words", "codes")
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
def serving(models, **options) -> Iterator[str]:
    with serve.Server(("127.0.0.1", 0), models, **options) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def models(folder):
    return serve.load([folder], threads=1)


@pytest.fixture(scope="module")
def address(models):
    with serving(models) as address:
        yield address


@contextmanager
def connection_to(address):
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=WAIT)
    yield connection
    connection.close()


def ask(address, model, body, content_type=None, **options):
    headers = {"Content-Type": content_type} if content_type else {}
    return requests.post(f"{address}/{model}", data=body, headers=headers, timeout=WAIT, **options)


def as_png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG")
    return file.getvalue()


def refusal(answer, status=400) -> str:
    assert answer.status_code == status and answer.headers["Content-Type"] == "application/json; charset=utf-8"
    content = answer.json()
    assert content.keys() == {"error"} and content["error"].endswith(".") and "\n" not in content["error"]
    return content["error"]


# What is answered


def test_the_models_and_their_signatures_can_be_read(address):
    assert requests.get(address, timeout=WAIT).json() == {"models": sorted([*TOYS, "mnist_cnn"])}
    assert requests.get(f"{address}/words", timeout=WAIT).json() == exported_toy("words").signature.model_dump()


def test_a_picture_is_answered_as_pytorch_does(address):
    own = exported_toy("shapes")
    batch = own.batch(1)
    (answer,) = ask(address, "shapes", as_png(batch[0])).json()["answers"]
    probabilities, label = run_torch(own.model, batch)
    assert answer["label"] == own.model.meta.classes[label[0]]
    np.testing.assert_allclose(list(answer["probabilities"].values()), probabilities[0], atol=1e-5)


def test_a_drawing_says_what_was_done_to_it(address):
    page = np.full((80, 60), 250, dtype=np.uint8)
    page[20:60, 28:33] = 10
    (answer,) = ask(address, "mnist_cnn", as_png(page)).json()["answers"]
    assert answer["note"] == "dark on light: inverted, cut out and centred" and answer["label"] in "0123456789"


def test_rows_are_taken_as_csv_and_as_json(address):
    as_csv = ask(address, "patients", "1,2,3\n,4,5\n").json()
    with_header = ask(address, "patients", "c,a,b\n3,1,2\n5,,4\n", "text/csv").json()
    as_lists = ask(address, "patients", json.dumps([[1, 2, 3], [None, 4, 5]]), "application/json").json()
    objects = [{"a": 1, "b": 2, "c": 3}, {"a": None, "b": 4, "c": 5}]
    as_objects = ask(address, "patients", json.dumps(objects), "application/json; charset=utf-8").json()
    assert as_csv == with_header == as_lists == as_objects
    expected, _ = run_torch(exported_toy("patients").model, np.array([[1, 2, 3], [np.nan, 4, 5]], dtype=np.float32))
    got = [list(answer["probabilities"].values()) for answer in as_csv["answers"]]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_texts_of_any_lengths_are_answered_together(address):
    lines = ask(address, "words", "Ab\nabcabcab\nÉa").json()["answers"]
    alone = [ask(address, "words", json.dumps([text]), "application/json").json()["answers"][0] for text in ("Ab", "abcabcab", "Éa")]
    assert [one["label"] for one in lines] == [one["label"] for one in alone]
    for one, other in zip(lines, alone, strict=True):
        np.testing.assert_allclose(list(one["probabilities"].values()), list(other["probabilities"].values()), atol=1e-5)
    assert lines[2]["note"] == "read as Ea"


def test_sequences_and_numbers_are_answered(address):
    (answer,) = ask(address, "codes", exported_toy("codes").signature.alphabet).json()["answers"]
    assert len(answer["text"]) == len(exported_toy("codes").signature.alphabet)
    (answer,) = ask(address, "spots", as_png(exported_toy("spots").batch(1)[0])).json()["answers"]
    assert list(answer["prediction"]) == exported_toy("spots").signature.numbers


def test_a_connection_is_used_again_after_an_answer_and_after_a_refusal(address):
    statuses = []
    with connection_to(address) as connection:
        for path, body in (("/words", b"Ab"), ("/nothing", b"x" * 1000), ("/words", b""), ("/words", b"Ab")):
            connection.request("POST", path, body)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
            assert connection.sock is not None, "the server has closed it"
    assert statuses == [200, 404, 400, 200]


# Together


class Counting:
    """A model that notes the sizes of its batches."""

    def __init__(self, model):
        self.signature, self.model, self.sizes = model.signature, model, []

    def answer(self, batch):
        self.sizes.append(len(batch))
        return self.model.answer(batch)


def test_requests_that_come_together_share_a_batch(models):
    """The window is long, so the batch is computed when it is full."""
    counting = Counting(models["words"].model)
    batcher = serve.Batcher(counting, max_batch=8, window_s=WAIT)
    with serving({"words": batcher}) as address, concurrent.futures.ThreadPoolExecutor(8) as pool:
        texts = ["ab" * length for length in range(1, 9)]
        answers = list(pool.map(lambda text: ask(address, "words", text).json()["answers"], texts))
    assert counting.sizes == [8]
    alone = [models["words"].model.answer([np.array([*text.encode()])])[0] for text in texts]
    for (got,), wanted in zip(answers, alone, strict=True):
        np.testing.assert_allclose(list(got["probabilities"].values()), list(wanted["probabilities"].values()), atol=1e-5)


def test_a_lone_request_is_answered_when_the_window_is_over(models):
    counting = Counting(models["words"].model)
    with serving({"words": serve.Batcher(counting, window_s=0.01)}) as address:
        assert ask(address, "words", "Ab").status_code == 200
    assert counting.sizes == [1]


def test_inputs_beyond_what_may_wait_are_refused_and_the_others_answered(models):
    """The model answers when it is let: until then one input is computed, two wait, and there is no room for a fourth."""
    let, begun = threading.Event(), threading.Event()

    class Slow(Counting):
        def answer(self, batch):
            begun.set()
            assert let.wait(WAIT)
            return super().answer(batch)

    batcher = serve.Batcher(Slow(models["words"].model), max_batch=1, max_waiting=2)
    with serving({"words": batcher}) as address, concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, address, "words", "Ab")
        assert begun.wait(WAIT)
        second = pool.submit(ask, address, "words", "Ab\nBa")
        while batcher.waiting.qsize() < 2:
            assert not second.done()
        answer = ask(address, "words", "Ab")
        assert refusal(answer, 503) == "too many inputs wait for this model: ask again in a second."
        assert answer.headers["Retry-After"] == "1"
        let.set()
        assert [one.result().status_code for one in (first, second)] == [200, 200]


def test_what_fails_in_the_model_is_heard_by_each_caller_and_the_next_are_answered(models, capfd):
    class Failing(Counting):
        def answer(self, batch):
            if not self.sizes:
                self.sizes.append(0)
                raise RuntimeError("no memory")
            return super().answer(batch)

    with serving({"words": serve.Batcher(Failing(models["words"].model))}) as address:
        assert refusal(ask(address, "words", "Ab"), 500) == "the model failed (RuntimeError: no memory)."
        assert ask(address, "words", "Ab").status_code == 200


@pytest.mark.parametrize("threads", ["-1", "1025", "3000000000"])
def test_a_number_of_threads_that_is_none_is_refused(threads, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["serve.py", "a.onnx", "--threads", threads])
    with pytest.raises(SystemExit) as ended:
        serve.main()
    assert ended.value.code == 2 and "--threads is a number from 0, all cores, to 1024" in capsys.readouterr().err


def test_a_caller_who_has_gone_is_no_failure_of_the_model(models, monkeypatch, capfd):
    said = []

    def send(handler, status, content):
        said.append(status)
        raise ConnectionResetError

    monkeypatch.setattr(serve.Handler, "send_json", send)
    with serving(models) as address, pytest.raises(requests.ConnectionError):
        requests.get(address + "/words", timeout=WAIT)
    assert said == [200] and "Traceback" not in capfd.readouterr().err


# What is refused


@pytest.mark.parametrize(
    ("model", "body", "content_type", "named"),
    [
        ("shapes", b"no picture", None, "the picture is no JPEG, PNG, WEBP, BMP, TIFF, GIF picture that can be read"),
        ("shapes", b"", None, "the body is empty."),
        ("shapes", b"--x", "multipart/form-data; boundary=x", "the body is a form: send the picture's bytes alone"),
        ("shapes", b"[[1]]", "application/json", "this model takes a picture: send the file's bytes as the body"),
        ("mnist_cnn", as_png(np.full((50, 50), 200, dtype=np.uint8)), None, "the picture shows no drawing"),
        ("patients", "1,2", None, "the body has 2 numbers in its first row and no header, expected 3: a, b, c"),
        ("patients", "1,2,nan", None, "the body line 1: c is nan, which is no finite number"),
        ("patients", "1,2,x", None, "the body line 1: c is 'x', which is no number"),
        ("patients", "a,b\n1,2", None, "the body has no column c; the model takes a, b, c"),
        ("patients", "1,2,3\n4,5", None, "the body line 2 has 2 numbers, expected 3: a, b, c"),
        ("patients", "", None, "the body is empty."),
        ("patients", "a,b,c", None, "the body has no rows below its header"),
        ("patients", "a,b,c,a\n1,2,3,4", None, "the body has two columns a: keep one"),
        ("patients", "A,B,C\n1,2,3", None, "the body begins with neither numbers nor the names of columns; the model takes a, b, c"),
        ("patients", "1_0,2,3", None, "the body line 1: a is '1_0', which is no number"),
        ("patients", "[[1, 2]]", "application/json", "row 1 has 2 numbers, expected 3: a, b, c"),
        ("patients", '[[1, 2, "x"]]', "application/json", "row 1: c is 'x', which is no number"),
        ("patients", "[[1, 2, true]]", "application/json", "row 1: c is 'True', which is no number"),
        ("patients", "[[1, 2, NaN]]", "application/json", "row 1: c is nan, which is no finite number"),
        ("patients", "[[1, 2, 1e999]]", "application/json", "row 1: c is inf, which is no finite number"),
        ("patients", '[{"a": 1, "b": 2}]', "application/json", "row 1 has no c: say null where a value is missing"),
        ("patients", '[{"a": 1, "b": 2, "c": 3, "d": 4}]', "application/json", "row 1 has 'd', which is no feature"),
        ("patients", "[1, 2, 3]", "application/json", "the body is no list of rows"),
        ("patients", '{"inputs": [[1, 2, 3]]}', "application/json", "the body is no list of rows"),
        ("patients", "[[1, 2", "application/json", "the body is no JSON ("),
        ("patients", "[" * 100_000, "application/json", "the body is nested too deeply"),
        ("patients", "[]", "application/json", "the body has no input; 1 to 256 are answered at once"),
        ("patients", "1,2,3\n" * 257, None, "the body has too many inputs; 1 to 256 are answered at once"),
        ("words", "王", None, "text 1: '王' has no character that can be written in ASCII"),
        ("words", "", None, "the body is empty."),
        ("patients", '[{"a": 1, "b": 2, "c": 3, "a": 4}]', "application/json", "the body has 'a' twice in one object"),
        ("patients", "[[1, 2, " + "9" * 5000 + "]]", "application/json", "row 1: c is inf, which is no finite number"),
        ("patients", '1,2,3\n1,2,"3\n1,2,3\n', None, "the body is no CSV from line 3 on, or in a quoted cell that begins before"),
        ("words", "[]", "application/json", "the body has no input; 1 to 256 are answered at once"),
        ("words", "a" * 1001, None, "text 1: the text 'aaaaaaaaaaaaaaaaaaaa'… has 1,001 characters; 1,000 are read at most"),
        ("words", "Ab\n\nBa", None, "text 2: the text is empty"),
        ("words", b"\xff\xfe", None, "the body is no text in UTF-8 ("),
        ("words", '["Ab", 3]', "application/json", "the body is no list of texts"),
        ("codes", "zzz", None, "text 1: 'zzz' has z; the model knows only"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(address, model, body, content_type, named):
    assert refusal(ask(address, model, body.encode() if isinstance(body, str) else body, content_type)).startswith(named)


@pytest.mark.parametrize("path", ["/etc/passwd", "/../words", "/", "/%2e%2e/words", "/a%00b"])
def test_what_is_no_model_is_not_found(address, path):
    with connection_to(address) as connection:
        connection.request("POST", path, b"Ab")
        answer = connection.getresponse()
        assert answer.status == 404 and json.loads(answer.read())["error"].startswith("there is no model '")


def test_a_text_that_is_a_path_is_no_more_than_a_text(address, tmp_path):
    (tmp_path / "rows.csv").write_text("1,2,3\n")
    assert "has no columns a, b, c" in refusal(ask(address, "patients", str(tmp_path / "rows.csv")))


def test_a_picture_of_too_many_pixels_or_too_narrow_is_refused_before_it_is_unpacked(address):
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    said = refusal(ask(address, "shapes", file.getvalue()))
    assert said == "the picture has more than the 50,000,000 pixels that are read: make it smaller."


def test_a_body_that_is_too_large_is_refused_by_its_length(address, monkeypatch):
    monkeypatch.setattr(serve, "MAX_BODY", 1000)
    assert refusal(ask(address, "words", b"a" * 3_000_000), 413) == "the body has 3,000,000 bytes; 1,000 are read at most."
    assert ask(address, "words", "Ab").status_code == 200


def exchange(address: str, sent: bytes) -> tuple[int, str]:
    """What a client that sends just these bytes hears: status and the error's sentence."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
        connection.sendall(sent)
        heard = b""
        while piece := connection.recv(1 << 16):
            heard += piece
    head, _, body = heard.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def test_who_asks_first_is_told_before_a_large_body_is_sent(address):
    head = b"POST /words HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
    assert exchange(address, head) == (413, "the body has 99,999,999 bytes; 10,000,000 are read at most.")


@pytest.mark.parametrize(
    ("headers", "status", "named"),
    [
        (b"", 411, "the body's length must be said before it comes, in Content-Length."),
        (b"Transfer-Encoding: chunked\r\n", 411, "the body's length must be said"),
        (b"Content-Length: -5\r\n", 400, "Content-Length is -5, which is no number of bytes."),
        (b"Content-Length: many\r\n", 400, "Content-Length is many, which is no number of bytes."),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n", 400, "Content-Length is 9999"),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n", 400, "Content-Length is 2, 3, which is no number of bytes."),
        (b"no colon\r\nContent-Length: 2\r\n", 400, "the head has a line that is no header."),
        (b"Content-Length: 5\r\n\r\nab", 408, "of the body's 5 bytes 2 came within 0.2 s."),
    ],
)
def test_a_body_whose_length_is_not_what_it_says_is_refused(address, monkeypatch, headers, status, named):
    monkeypatch.setattr(serve, "TIMEOUT_S", 0.2)
    end = b"" if headers.endswith(b"ab") else b"\r\n"
    got, sentence = exchange(address, b"POST /words HTTP/1.1\r\nHost: x\r\n" + headers + end)
    assert got == status and sentence.startswith(named)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"DELETE /words HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"BREW /words HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET http://[ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
    ],
)
def test_what_is_no_request_is_refused_as_json_too(address, sent, status):
    got, sentence = exchange(address, sent)
    assert got == status and sentence.endswith(".")


def test_a_head_that_comes_too_slowly_ends_the_connection(address, monkeypatch):
    """Each byte well within the time that a whole head has: what counts is the whole."""
    monkeypatch.setattr(serve, "TIMEOUT_S", 0.3)
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
        connection.sendall(b"POST /words HTTP/1.1\r\n")
        connection.settimeout(0.05)
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                assert connection.recv(100) == b"", "closed, without an answer"
                break
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"X: 1\r\n")
        else:
            pytest.fail("the connection was never closed")


def test_the_body_of_a_get_is_no_second_request(address):
    inner = b"GET /words HTTP/1.1\r\nHost: x\r\n\r\n"
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
        head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(inner)
        connection.sendall(head + inner)
        heard = b""
        while piece := connection.recv(1 << 16):
            heard += piece
    assert heard.count(b"HTTP/1.1 200") == 1 and heard.count(b"HTTP/1.1") == 1


def test_a_body_that_ends_early_is_said(address):
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
        connection.sendall(b"POST /words HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
        connection.shutdown(socket.SHUT_WR)
        heard = b""
        while piece := connection.recv(1 << 16):
            heard += piece
    assert heard.startswith(b"HTTP/1.1 400 ") and b"the body ended after 2 of its 5 bytes." in heard


def test_head_is_get_without_a_body_and_addresses_may_end_in_a_slash(address):
    answer = requests.head(f"{address}/words/?x=1", timeout=WAIT)
    assert answer.status_code == 200 and answer.content == b"" and int(answer.headers["Content-Length"]) > 1000
    assert requests.put(f"{address}/words", data=b"Ab", timeout=WAIT).headers["Allow"] == "GET, HEAD, POST"


def test_a_number_that_overflows_is_null(tmp_path):
    """Weights that are larger than a float can hold with the input."""
    proto = onnx.load_model_from_string(exported_toy("numbers").onnx)
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and "network" in tensor.name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) + np.float32(1e30), tensor.name))
    (tmp_path / "numbers.onnx").write_bytes(proto.SerializeToString())
    with serving({"numbers": serve.Batcher(predict.Model(str(tmp_path / "numbers.onnx")))}) as address:
        (answer,) = ask(address, "numbers", "3e38").json()["answers"]
    assert answer["prediction"] == {"y": None}
    assert predict.in_words(answer) == "y no finite number"


def test_more_connections_than_are_served_are_turned_away_and_come_later(models):
    with serving({"words": models["words"]}, max_connections=1) as address:
        host, port = address.removeprefix("http://").split(":")
        with connection_to(address) as held:
            held.request("POST", "/words", b"Ab")
            assert held.getresponse().read()
            with socket.create_connection((host, int(port)), timeout=WAIT) as other:
                said = other.recv(1000)
                assert said.startswith(b"HTTP/1.1 503 ") and b"too many connections are open: ask again in a second." in said
        for _ in range(1000):  # until the server has seen that the first is gone
            if ask(address, "words", "Ab").status_code == 200:
                break
        else:
            pytest.fail("the place was never free again")


# The command


def start(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, str(ROOT / "examples" / "serve.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_command_serves_on_loopback_until_it_is_told_to_end(folder):
    with start(folder, "--port", 0) as server:
        said = server.stdout.readline()
        address = said.split()[0]
        assert address.startswith("http://127.0.0.1:") and "words" in said
        assert ask(address, "words", "Ab").status_code == 200
        server.send_signal(signal.SIGINT)
        assert server.wait(WAIT) == 0
        assert "Traceback" not in server.stderr.read()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["nothing.onnx"], "error: there is no file nothing.onnx."),
        (["."], "error: there is no *.onnx below .."),
        (["text.onnx"], "error: text.onnx is damaged, cut short, or no ONNX model ("),
        (["a.onnx", "b.onnx"], "error: b.onnx is a second words: name one of them."),
        (["wrong.onnx"], "error: wrong.onnx: probabilities of its golden input differs by "),
        (["a.onnx", "--port", "99999"], "error: 127.0.0.1:99999 cannot be had ("),
        (["a.onnx", "--host", "nowhere.invalid"], "error: nowhere.invalid is no address of this machine ("),
    ],
)
def test_a_mistake_on_the_command_line_is_refused_in_a_sentence(tmp_path, monkeypatch, given, named):
    monkeypatch.chdir(tmp_path)
    if given != ["."]:
        (tmp_path / "text.onnx").write_text("no model")
        (tmp_path / "a.onnx").write_bytes(exported_toy("words").onnx)
        (tmp_path / "b.onnx").write_bytes(exported_toy("words").onnx)
        golden = exported_toy("words").signature.golden.model_dump()
        golden["outputs"]["probabilities"]["base64"] = "AAAAAA" + golden["outputs"]["probabilities"]["base64"][6:]
        wrong = exported_toy("words").signature.model_copy(update={"golden": type(exported_toy("words").signature.golden)(**golden)})
        (tmp_path / "wrong.onnx").write_bytes(with_metadata(exported_toy("words").onnx, wrong))
    monkeypatch.setattr("sys.argv", ["serve.py", *given])
    with pytest.raises(SystemExit) as ended:
        serve.main()
    assert str(ended.value.code).startswith(named)
