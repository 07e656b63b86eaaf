"""The page of web/ in a real browser: trained models are asked by mouse, keyboard, file and text, and nothing is sent anywhere.

Slow: models are trained first. Needs Chromium, and npm for the runtime.
"""

import functools
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Route, expect
from scipy.ndimage import maximum_filter1d

from examples import predict
from stages.common.splits import read_split
from tests.examples.test_predict import photographed
from tests.examples.test_tables import Made, row_of
from tests.released import released_models
from tests.web.served import STATE, loaded, panel_of, served, settled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SHOWN = (
    "mnist_cnn",
    "mnist_cnn_wide",
    "mnist_center_net",
    "names_gru",
    "hello_rnn",
    "diabetes_mlp",
    "diabetes_table",
    "cifar10_cnn",
    "line_gd",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A repository in which all models are trained and exported."""
    return released_models(tmp_path_factory).root


@pytest.fixture(scope="module")
def address(built, tmp_path_factory):
    """Of the page on loopback, served as `make demo` does."""
    folder = tmp_path_factory.mktemp("page")
    for model in SHOWN:  # a few of every kind: each test loads them all
        shutil.copytree(built / "models" / model, folder / "models" / model)
    with served(folder, len(SHOWN)) as address:
        yield address


@pytest.fixture
def page(browser, address):
    with loaded(browser, address) as page:
        yield page


@pytest.fixture
def digits(page):
    """The pad and what is made of it."""
    return panel_of(page, "mnist")


def answer_of(panel: Locator, model: str) -> Locator:
    return panel.locator(f'li[data-model="{model}"] strong')


def test_the_gallery_shows_every_model_with_its_metrics_and_pictures(page, built):
    assert sorted(page.locator("#gallery h3").all_inner_texts()) == sorted(SHOWN)
    for model in SHOWN:
        card = page.locator(f"#model-{model}")
        card.locator("summary").click()
        metrics = json.loads((built / "models" / model / "metrics.json").read_text())
        first = next(iter(metrics))
        expect(card.locator("table")).to_contain_text(first.replace("_", " "))
        expect(card.locator("table")).to_contain_text(f"{metrics[first]:.4g}".rstrip("0").rstrip("."))
        for picture in card.locator("img").all():
            expect(picture).to_have_js_property("complete", True)
            assert picture.evaluate("one => one.naturalWidth") > 100


def draw(digits: Locator, digit: np.ndarray, shift: float = 0.0) -> None:
    """With the mouse, along the ridges of its strokes: a line for each run of pixels that none nearby in its row or column outshines.

    `shift` moves it to the right, by parts of the pad's width.
    """
    ridge = ((maximum_filter1d(digit, 5, axis=0) == digit) | (maximum_filter1d(digit, 5, axis=1) == digit)) & (digit > 100)
    digits.locator(".clear").click()
    mouse, box = digits.page.mouse, digits.locator(".pad").bounding_box()
    assert box is not None
    scale, left = box["width"] / 28, box["x"] + shift * box["width"]
    for row, pixels in enumerate(ridge):
        places = np.flatnonzero(pixels)
        for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(places) else []:
            y = box["y"] + (row + 0.5) * scale
            mouse.move(left + (run[0] + 0.5) * scale, y)
            mouse.down()
            mouse.move(left + (run[-1] + 0.5) * scale, y)
            mouse.up()


def test_digits_of_the_test_split_that_are_drawn_are_read_by_all_networks(digits, built):
    inputs, targets = read_split(built / "data/mnist/processed", "test")
    right = dict.fromkeys(("mnist_cnn", "mnist_cnn_wide"), 0)
    for digit, target in zip(inputs[:12, :, :, 0], targets[:12], strict=True):
        draw(digits, digit)
        settled(digits)
        for model in right:
            right[model] += answer_of(digits, model).inner_text() == str(target)
    assert min(right.values()) >= 9, right


@pytest.mark.parametrize("is_dark", [True, False])
def test_a_photographed_digit_is_inverted_if_need_be_and_read(digits, built, tmp_path, is_dark):
    inputs, targets = read_split(built / "data/mnist/processed", "test")
    rng, right = np.random.default_rng(0), 0
    for digit, target in zip(inputs[:6, :, :, 0], targets[:6], strict=True):
        photographed(digit, rng, is_dark).save(tmp_path / "digit.png")
        digits.locator("input[type=file]").set_input_files(tmp_path / "digit.png")
        settled(digits)
        right += answer_of(digits, "mnist_cnn_wide").inner_text() == str(target)
    assert right >= 5


def test_the_pad_is_drawn_on_by_keyboard_and_an_empty_one_is_not_read(page, digits, tmp_path):
    digits.locator(".pad").focus()
    page.keyboard.press("Space")
    for _ in range(15):
        page.keyboard.press("ArrowDown")
    settled(digits)
    assert answer_of(digits, "mnist_cnn").inner_text().isdigit()
    page.keyboard.press("Delete")
    expect(digits.locator(".answers")).to_have_text("Waiting for a drawing")
    Image.new("L", (300, 200), 200).save(tmp_path / "blank.png")
    digits.locator("input[type=file]").set_input_files(tmp_path / "blank.png")
    expect(digits.locator(".answers")).to_have_text("There is no drawing to be seen.")


def test_texts_are_read_as_they_are_typed_as_the_model_does(page):
    names = panel_of(page, "names")
    field = names.locator("textarea")
    expect(field).to_have_value("Nakamura")  # a lesson shows what it is about
    for name, hints in (("Okafor", []), ("Ébène", ["Read as Ebene."])):
        field.fill(name)
        expect(settled(names).locator("li.hint")).to_have_text(hints)
        expect(answer_of(names, "names_gru")).to_be_visible()
    field.fill("王")
    expect(names.locator(".error")).to_contain_text("written in ASCII")
    field.fill("")
    expect(names.locator(".verdict")).to_have_text("Waiting for a text")
    hello = panel_of(page, "hello")
    for text, answered in (("hello", "^[ehlo]{5}$"), ("he", "^[ehlo]{2}$")):
        hello.locator("textarea").fill(text)
        expect(answer_of(hello, "hello_rnn")).to_have_text(re.compile(answered))
    hello.locator("textarea").fill("halo")
    expect(hello.locator(".error")).to_have_text("halo has a; the model knows only ehlo.")


def test_the_middle_of_a_drawing_is_found_and_marked(page, digits, built):
    """As far as so small a training goes: further right where the same digit is drawn further right."""
    digit, columns = read_split(built / "data/mnist/processed", "test")[0][0, :, :, 0], []
    for shift in (-0.12, 0.12):
        draw(digits, digit, shift)
        settled(digits)
        said = re.fullmatch(r"row of [a-z, ]* ([\d.-]+), column of [a-z, ]* ([\d.-]+)", answer_of(digits, "mnist_center_net").inner_text())
        assert said
        columns.append(float(said[2]))
        middle = page.evaluate(RED_COLUMN)
        assert middle is not None and abs((columns[-1] + 0.5) / 32 * 280 - middle) < 4, "the cross stands where the network says"
    assert columns[0] < columns[1]
    digits.locator(".clear").click()
    settled(digits)
    assert page.evaluate(RED_COLUMN) is None


# The middle of the pad's red pixels, or null.
RED_COLUMN = """() => {
  const { data, width } = document.querySelector(".pad").getContext("2d").getImageData(0, 0, 280, 280), found = [];
  for (let place = 0; place < data.length; place += 4)
    if (data[place] > 150 && data[place + 1] < 80) found.push((place / 4) % width);
  return found.length ? (Math.min(...found) + Math.max(...found)) / 2 : null;
}"""


def test_sliders_change_the_answer_beyond_the_data_too_and_a_number_may_be_missing(page):
    line = panel_of(page, "line")
    line.locator("input[type=range]").focus()
    page.keyboard.press("End")
    expect(line.locator("output")).to_have_text("4")
    expect(answer_of(line, "line_gd")).to_have_text(re.compile(r"^y (7\.9|8)"))
    diabetes = panel_of(page, "diabetes")
    answers = settled(diabetes)
    before = answers.inner_text()
    slider = diabetes.get_by_role("slider", name="Glucose", exact=True)
    slider.focus()
    page.keyboard.press("End")
    expect(answers).not_to_have_text(before)
    diabetes.get_by_label("Glucose is missing").check()
    expect(slider).to_be_disabled()
    expect(diabetes.locator("output").nth(1)).to_have_text("–")  # noqa: RUF001


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """A table with words and dates, a model of it that nobody has trained, and the page's address with that alone."""
    folder = tmp_path_factory.mktemp("tiles")
    made, exported = Made(folder / "made", "german.csv"), folder / "models" / "tiles" / "exported"
    exported.mkdir(parents=True)
    (exported / "model.onnx").write_bytes(made.own.onnx)
    (exported / "signature.json").write_text(json.dumps(made.signature))
    (exported / "README.md").write_text("# tiles")
    with served(folder, 1) as address:
        yield made, address


def test_a_row_of_a_table_is_filled_in_by_the_rules_of_its_columns(browser, tiles):
    made, address = tiles
    model = predict.Model(str(made.path))
    with loaded(browser, address) as page:
        card = page.locator("#card-tiles")
        for row in (dict.fromkeys(row_of(), ""), row_of(heat="1.907,5 €", note="two\nlines"), row_of(made="1.1.1969", code="false")):
            for name, value in row.items():
                field = card.get_by_label(name, exact=True)
                field.select_option(value) if name in made.signature["categories"] else field.fill(value)
            (item,) = model.read(json.dumps(row))
            (answer,) = model.answer([item.values])
            expect(settled(card).locator(".verdict strong")).to_have_text(answer["label"])
            expect(card.locator(".verdict .share")).to_have_text(f"{100 * answer['probabilities'][answer['label']]:.1f} %")
        heat = card.get_by_label("heat, °C", exact=True)
        assert re.fullmatch(r"-?[\d]+(,\d+)?", heat.get_attribute("placeholder")), "the mean, as the column writes numbers"
        assert card.get_by_label("seen", exact=True).get_attribute("placeholder") == "YYYY-MM-DDThh:mm"
        heat.fill("12a")
        expect(card.locator(".error")).to_have_text('This row: heat, °C is "12a": expected a number, or an empty cell where it is missing.')


PASTE = """([bytes, name, type]) => {
  const clipboard = new DataTransfer();
  clipboard.items.add(new File([Uint8Array.from(bytes)], name, { type }));
  document.activeElement.dispatchEvent(new ClipboardEvent("paste", { clipboardData: clipboard, bubbles: true }));
}"""


def test_a_picture_is_pasted_where_the_focus_is(page, digits, built, tmp_path):
    inputs, targets = read_split(built / "data/mnist/processed", "test")
    photographed(inputs[0, :, :, 0], np.random.default_rng(0), True).save(tmp_path / "digit.png")
    digits.locator(".pad").focus()
    page.evaluate(PASTE, [list((tmp_path / "digit.png").read_bytes()), "digit.png", "image/png"])
    settled(digits)
    expect(answer_of(digits, "mnist_cnn_wide")).to_have_text(str(targets[0]))
    photographs = panel_of(page, "cifar10")
    expect(photographs.locator(".verdict")).to_have_text("Waiting for a picture")
    photographs.get_by_role("button").first.focus()
    page.evaluate(PASTE, [list((tmp_path / "digit.png").read_bytes()), "digit.png", "image/png"])
    expect(answer_of(photographs, "cifar10_cnn")).to_be_visible()
    digits.locator(".pad").focus()
    page.evaluate(PASTE, [list(b"no picture"), "notes.txt", "text/plain"])
    expect(digits.locator(".error")).to_have_text("notes.txt cannot be read as a picture here: save it as JPEG, PNG or WebP.")


MEAN_OF_PAD = """() => {
  const pad = document.querySelector(".pad"), { data } = pad.getContext("2d").getImageData(0, 0, pad.width, pad.height);
  return data.reduce((sum, value) => sum + value, 0) / data.length;
}"""


@pytest.mark.parametrize("ink", [0, 255], ids=["black", "white"])
def test_a_drawing_on_nothing_is_read(page, digits, built, tmp_path, ink):
    """As drawing programs save it: transparent but for the strokes, which would be lost on a ground of their own colour."""
    inputs, targets = read_split(built / "data/mnist/processed", "test")
    strokes = Image.fromarray(inputs[0, :, :, 0]).resize((560, 560))
    drawing = Image.new("RGBA", (1600, 1600), (ink, ink, ink, 0))
    drawing.paste(Image.merge("RGBA", [Image.new("L", strokes.size, ink)] * 3 + [strokes]), (500, 400))
    drawing.save(tmp_path / "digit.png")
    digits.locator("input[type=file]").set_input_files(tmp_path / "digit.png")
    settled(digits)
    expect(answer_of(digits, "mnist_cnn_wide")).to_have_text(str(targets[0]))
    assert 128 < page.evaluate(MEAN_OF_PAD) < 254, "dark strokes on a light pad, which can be drawn on"


def with_other_golden_outputs(content: bytes) -> bytes:
    expected = json.loads(content)["golden"]["outputs"]["probabilities"]["base64"].encode()
    return content.replace(expected, b"AAAAAA" + expected[6:])


def fulfil(body: bytes, route: Route) -> None:
    route.fulfill(body=body)


def test_a_model_that_cannot_be_used_is_said(browser, address, built):
    """Its place says why, and the others answer."""
    exported = built / "models/names_gru/exported"
    for file, change, said in (
        ("signature.json", lambda _: b"<html>", "models/names_gru/signature.json cannot be read ("),
        ("signature.json", with_other_golden_outputs, "probabilities of the golden input differs by"),
    ):
        page, content = browser.new_page(), (exported / file).read_bytes()
        page.route(f"**/names_gru/{file}", functools.partial(fulfil, change(content)))
        page.goto(address)
        expect(page.locator("#state")).to_contain_text(STATE)
        panel_of(page, "names")
        expect(page.locator(".error").first).to_contain_text(said)
        hello = panel_of(page, "hello")
        hello.locator("textarea").fill("he")
        expect(answer_of(hello, "hello_rnn")).to_be_visible()
        page.close()
