"""In no file that consumers get does a runtime, or a browser, find an address to open: of another file, or of another machine."""

import html.parser
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from examples import triton
from stages.exporting.forms import to_int8, with_metadata
from tests.exported import exported_toy
from tests.toy import ROOT
from web.assemble import PAGE

ADDRESS = re.compile(rb"(?i)\b(?:https?|wss?|ftps?|file|s3|gs|hdfs|abfss?|data):(?://|[a-z]+/)[^\s\"'<>]*")
DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}  # the standard's operators: nothing is loaded for them
LINKS_OF_PAGE = {"a": {"href"}}  # followed where a person clicks
CSP = {"'none'", "'self'", "'wasm-unsafe-eval'", "blob:", "data:"}  # and a browser refuses the rest


def what_it_opens(path: Path) -> list[str]:
    """Of an exported file: the addresses in it, and what an ONNX file wants from elsewhere."""
    if path.suffix == ".md":  # a person reads it; pictures alone are opened for that
        return re.findall(r"!\[[^\]]*\]\((?:\w+:|/)[^)]*\)|<(?:img|script|link|iframe)\b[^>]*>", path.read_text(encoding="utf-8"))
    found = []
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                found += ADDRESS.findall(archive.read(name))
    else:
        found += ADDRESS.findall(path.read_bytes())
    return [address.decode() for address in found] + (foreign_parts(path) if path.suffix == ".onnx" else [])


def foreign_parts(path: Path) -> list[str]:
    """Tensors that lie in other files, operators of other libraries, functions of its own."""
    proto = onnx.load(path, load_external_data=False)
    graphs = [proto.graph, *graphs_in(proto.graph)]
    nodes = [node for graph in graphs for node in graph.node]
    tensors = [tensor for graph in graphs for tensor in graph.initializer]
    tensors += [tensor for node in nodes for attribute in node.attribute for tensor in (attribute.t, *attribute.tensors)]
    outside = [tensor.name for tensor in tensors if tensor.external_data or tensor.data_location]
    domains = {one.domain for one in (*proto.opset_import, *nodes)} - DOMAINS
    return [*outside, *domains, *(one.name for one in proto.functions)]


def graphs_in(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Its branches and loops, and theirs."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield inner
                yield from graphs_in(inner)


@pytest.fixture(scope="module")
def exported_folder(tmp_path_factory):
    """A model in all its forms; tests/examples/test_consumers.py looks at every model's."""
    own, folder = exported_toy("shapes"), tmp_path_factory.mktemp("exported")
    int8 = to_int8(own.onnx, own.feed, own.batch(32), ["convolution"])
    (folder / "model.onnx").write_bytes(own.onnx)
    (folder / "model.int8.onnx").write_bytes(with_metadata(int8, own.signature, {"variant": "int8"}))
    (folder / "model.torchscript.pt").write_bytes(own.script)
    (folder / "model.pt2").write_bytes(own.pt2)
    (folder / "signature.json").write_text(own.signature.model_dump_json())
    return folder


def test_a_model_names_no_address_in_any_form(exported_folder):
    files = list(exported_folder.iterdir())
    assert len(files) == 5 and {file.name: what_it_opens(file) for file in files} == {file.name: [] for file in files}


def test_tritons_configuration_names_no_address(exported_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["triton.py", str(tmp_path / "repository"), str(exported_folder / "model.onnx")])
    triton.main()
    files = [file for file in (tmp_path / "repository").rglob("*") if file.is_file()]
    assert len(files) >= 2 and [opened for file in files for opened in what_it_opens(file)] == []


def test_what_opens_something_is_seen(tmp_path):
    proto = onnx.load_model_from_string(exported_toy("patients").onnx)
    onnx.external_data_helper.set_external_data(proto.graph.initializer[0], "weights.bin")
    proto.graph.node[0].domain = "com.example"
    proto.metadata_props.add(key="from", value="see s3://bucket/weights")
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    assert what_it_opens(tmp_path / "model.onnx") == ["s3://bucket/weights", proto.graph.initializer[0].name, "com.example"]
    (tmp_path / "README.md").write_text("[a link](https://example.com) ![](https://example.com/a.png)")
    with zipfile.ZipFile(tmp_path / "model.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", '{"from": "https://example.com/a"}')
    opened = [what_it_opens(tmp_path / name) for name in ("README.md", "model.pt2")]
    assert opened == [["![](https://example.com/a.png)"], ["https://example.com/a"]]


# The page


class Opened(html.parser.HTMLParser):
    """What a browser opens by itself, and the content security policy."""

    def __init__(self, page: str):
        super().__init__()
        self.found, self.policy = list[str](), ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if ("//" in (value or "") or re.match(r"\w+:(?!,)", value or "")) and name not in LINKS_OF_PAGE.get(tag, set()) | {"content"}:
                self.found.append(f"<{tag} {name}={value}>")
        if dict(attributes).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attributes)["content"] or ""


def test_the_page_and_its_code_open_nothing_of_anybody_elses():
    page = Opened((ROOT / "web" / "index.html").read_text(encoding="utf-8"))
    assert page.found == []
    rules = [rule.split() for rule in page.policy.split(";")]
    assert ["default-src", "'none'"] in rules and {source for _, *sources in rules for source in sources} <= CSP

    for file in (
        *(f"web/{name}" for name in PAGE if not name.endswith(".html")),
        *(f"examples/{name}.mjs" for name in ("predict", "rows", "cells")),
    ):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.findall(r"""\w+://\S*|["'`(]//\w\S*|@import.*""", text) == [], file
