"""The model card where the names in the data are hostile: rendered, it has them as text."""

from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt

from stages.common.meta import Column
from stages.common.signature import Feature
from stages.exporting.model_card import as_markdown, model_card
from tests.exported import signature_of
from tests.toy import NUMBER, TINY_TABLE, Data, build, describe, measured, table_of

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[free prize](javascript:alert(1))",
    "![x](http://127.0.0.1/pixel.png)",
    "<http://127.0.0.1/>",
    "a | b |\n| c | d",
    "\n\n# a title\n\n- a point",
    "`code` ``` *strong* __bold__ ~~gone~~ $x$",
    r"\[x](javascript:alert(1))",
    "&lt;b&gt; &#60;script&#62;",
    "\x1b[2J\x1b]0;title\x07",
    "\u202efdp.exe\u2066\u200b\r\u2028\x85",
    "snake_case é ü ½",
]
ALLOWED = {"h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "strong", "img", "a"}


class Rendered(HTMLParser):
    """The texts of a page, its tags, and what it points at."""

    def __init__(self, markdown: str):
        super().__init__()
        self.text, self.tags, self.targets = "", list[str](), set[str]()
        # Raw HTML is let through, as Markdown does.
        self.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.targets |= {value for name, value in attributes if name in ("href", "src")}

    def handle_data(self, data):
        self.text += data


def shown(name):
    """How a name is to be read on the page."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_markdown_reads_as_it_is_and_what_cannot_be_seen_as_its_code(name):
    page, cell = Rendered(f"It is {as_markdown(name)}."), Rendered(f"| a | b |\n|---|---|\n| x{as_markdown(name)} | 1 |")
    assert (page.text, page.tags) == (f"It is {shown(name)}.\n", ["p"])
    assert f"x{shown(name)}" in cell.text and cell.tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]


def test_a_card_has_names_of_columns_classes_and_files_as_text_alone():
    names = {f"{one} {number}": NUMBER for number, one in enumerate(HOSTILE)}
    categories = {f"{one} word": Column(type="category", levels=["x", "y"]) for one in HOSTILE}
    rows = np.concatenate([np.random.default_rng(0).normal(size=(12, len(HOSTILE))), np.full((12, len(HOSTILE)), 2)], axis=1)
    rows = rows.astype(np.float32)
    splits = dict.fromkeys(("train", "val", "test"), (rows, (np.arange(12) % len(HOSTILE)).astype(np.int64)))
    data = Data(describe("own", measured(table_of(names | categories), rows), "multiclass", HOSTILE, None, splits), splits)
    torch.manual_seed(0)
    all_of_them = " ".join(HOSTILE)
    signature = signature_of("own", build(TINY_TABLE, data.meta), data)
    features = [Feature(**(one.model_dump() | {"unit": all_of_them})) for one in signature.features]
    signature = signature.model_copy(update={"use": f"To predict {all_of_them}", "features": features})
    meta = data.meta.model_copy(update={"description": f"The rows of {all_of_them}"})
    training = {"best_epoch": 2, "epochs": 3, "recipe": {"lr": 0.1}, "seed": 0}
    card = model_card(signature, meta, training, TINY_TABLE, {"ONNX": 0.0})

    page = Rendered(card)
    assert set(page.tags) <= ALLOWED and page.targets == {"predictions.png", "learning_curve.png", "../report.html"}
    assert page.tags.count("h1") == 1 and "li" not in page.tags
    assert all(sign.isprintable() or sign == "\n" for sign in card)
    assert f"Classes, in label order: {shown(', '.join(HOSTILE))}." in page.text
    for text in [*names, *categories, f"To predict {all_of_them}", f"The rows of {all_of_them}"]:
        assert shown(text) in page.text
    rows_of_features = [line for line in card.splitlines() if line.startswith("| ") and as_markdown(all_of_them) in line]
    assert len(rows_of_features) == len(HOSTILE)
