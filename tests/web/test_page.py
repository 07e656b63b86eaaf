"""The page of web/ in a real browser: trained models are asked by mouse, keyboard, file and text, and nothing is sent anywhere.

Slow: models are trained first. Needs Chromium, and npm for the runtime.
"""

import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from scipy.ndimage import maximum_filter1d

from examples import predict
from stages.common.splits import read_split
from tests.examples.test_predict import photographed
from tests.examples.test_tables import Made, row_of
from tests.released import released_models
from web import assemble

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


@contextmanager
def served(folder: Path, count: int) -> Iterator[str]:
    """The page with the models of a folder, and its address."""
    if not (assemble.RUNTIME.exists() or shutil.which("npm")):
        pytest.skip("there is no npm here to install onnxruntime-web with")
    assemble.install_runtime()
    assert assemble.assemble(folder / "page", folder / "models") == count
    with http.server.ThreadingHTTPServer((assemble.HOST, 0), functools.partial(assemble.Handler, directory=str(folder / "page"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{assemble.HOST}:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page(browser, address):
    with loaded(browser, address, len(SHOWN)) as page:
        yield page


@contextmanager
def loaded(browser: Browser, address: str, count: int) -> Iterator[Page]:
    """The page, loaded; at the end there must have been no error, and no request to anybody else."""
    context = browser.new_context()
    page, errors, asked = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    expect(page.locator("#state")).to_have_text(f"{count} models.")
    yield page
    assert errors == []
    assert {url for url in asked if not url.startswith((address, "data:", "blob:"))} == set()
    context.close()


def answer_of(page: Page, model: str) -> str:
    return page.locator(f'li[data-model="{model}"] strong').inner_text()


def test_the_gallery_shows_every_model_with_its_metrics_and_pictures(page, built):
    assert sorted(page.locator("#gallery h3").evaluate_all("all => all.map(one => one.firstChild.textContent)")) == sorted(SHOWN)
    for model in SHOWN:
        card = page.locator(f"#model-{model}")
        metrics = json.loads((built / "models" / model / "metrics.json").read_text())
        first = next(iter(metrics))
        expect(card).to_contain_text(first.replace("_", " "))
        expect(card).to_contain_text(f"{metrics[first]:.4g}".rstrip("0").rstrip("."))
        card.scroll_into_view_if_needed()
        for picture in card.locator("img").all():
            expect(picture).to_have_js_property("complete", True)
            assert picture.evaluate("one => one.naturalWidth") > 100


def draw(page: Page, digit: np.ndarray, shift: float = 0.0) -> None:
    """With the mouse, along the ridges of its strokes: a line for each run of pixels that none nearby in its row or column outshines.

    `shift` moves it to the right, by parts of the pad's width.
    """
    ridge = ((maximum_filter1d(digit, 5, axis=0) == digit) | (maximum_filter1d(digit, 5, axis=1) == digit)) & (digit > 100)
    page.locator("#clear").click()
    box = page.locator("#pad").bounding_box()
    assert box is not None
    scale, left = box["width"] / 28, box["x"] + shift * box["width"]
    for row, pixels in enumerate(ridge):
        places = np.flatnonzero(pixels)
        for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(places) else []:
            y = box["y"] + (row + 0.5) * scale
            page.mouse.move(left + (run[0] + 0.5) * scale, y)
            page.mouse.down()
            page.mouse.move(left + (run[-1] + 0.5) * scale, y)
            page.mouse.up()


def settled(page: Page) -> None:
    """Waits until the networks have voted on what is on the pad now."""
    expect(page.locator("#digit-votes")).to_have_attribute("aria-busy", "false", timeout=30_000)


def test_digits_of_the_test_split_that_are_drawn_are_read_by_all_networks(page, built):
    inputs, targets = read_split(built / "data/mnist/processed", "test")
    right = dict.fromkeys(("mnist_cnn", "mnist_cnn_wide"), 0)
    for digit, target in zip(inputs[:20, :, :, 0], targets[:20], strict=True):
        draw(page, digit)
        settled(page)
        for model in right:
            right[model] += answer_of(page, model) == str(target)
    assert min(right.values()) >= 14, right


@pytest.mark.parametrize("is_dark", [True, False])
def test_a_photographed_digit_is_inverted_if_need_be_and_read(page, built, tmp_path, is_dark):
    inputs, targets = read_split(built / "data/mnist/processed", "test")
    rng, right = np.random.default_rng(0), 0
    for digit, target in zip(inputs[:6, :, :, 0], targets[:6], strict=True):
        photographed(digit, rng, is_dark).save(tmp_path / "digit.png")
        page.locator("#digit").set_input_files(tmp_path / "digit.png")
        settled(page)
        right += answer_of(page, "mnist_cnn_wide") == str(target)
    assert right >= 5


def test_the_pad_is_drawn_on_by_keyboard_and_an_empty_one_is_not_read(page, tmp_path):
    page.locator("#pad").focus()
    page.keyboard.press("Space")
    for _ in range(15):
        page.keyboard.press("ArrowDown")
    settled(page)
    assert answer_of(page, "mnist_cnn").isdigit()
    page.keyboard.press("Delete")
    expect(page.locator("#digit-votes")).to_have_text("Draw a digit.")
    Image.new("L", (300, 200), 200).save(tmp_path / "blank.png")
    page.locator("#digit").set_input_files(tmp_path / "blank.png")
    expect(page.locator("#digit-votes")).to_have_text("There is no drawing to be seen.")


def test_texts_are_read_as_they_are_typed_as_the_model_does(page):
    field, votes = page.get_by_label("names"), page.locator("#card-names .votes")
    for name, hints in (("Okafor", []), ("Ébène", ["Read as Ebene."])):
        field.fill(name)
        expect(votes.locator('li[data-model="names_gru"] strong')).to_be_visible()
        expect(votes.locator("li.hint")).to_have_text(hints)
    for text, said in (("", "the text is empty"), ("王", '"王" has no character that can be written in ASCII')):
        field.fill(text)
        expect(votes.locator(".error")).to_have_text(said)
    for text, answered in (("hello", "^[ehlo]{5}$"), ("he", "^[ehlo]{2}$")):
        page.get_by_label("hello").fill(text)
        expect(page.locator('li[data-model="hello_rnn"] strong')).to_have_text(re.compile(answered))
    page.get_by_label("hello").fill("halo")
    expect(page.locator("#card-hello .error")).to_have_text("halo has a; the model knows only ehlo")


def test_the_middle_of_a_drawing_is_found_and_marked(page, built):
    """As far as so small a training goes: further right where the same digit is drawn further right."""
    digit, columns = read_split(built / "data/mnist/processed", "test")[0][0, :, :, 0], []
    for shift in (-0.12, 0.12):
        draw(page, digit, shift)
        settled(page)
        said = re.fullmatch(r"row of [a-z, ]* ([\d.-]+), column of [a-z, ]* ([\d.-]+)", answer_of(page, "mnist_center_net"))
        assert said
        columns.append(float(said[2]))
        middle = page.evaluate(RED_COLUMN)
        assert middle is not None and abs((columns[-1] + 0.5) / 32 * 280 - middle) < 4, "the cross stands where the network says"
    assert columns[0] < columns[1]
    page.locator("#clear").click()
    settled(page)
    assert page.evaluate(RED_COLUMN) is None


# The middle of the pad's red pixels, or null.
RED_COLUMN = """() => {
  const { data, width } = document.querySelector("#pad").getContext("2d").getImageData(0, 0, 280, 280), found = [];
  for (let place = 0; place < data.length; place += 4)
    if (data[place] > 150 && data[place + 1] < 80) found.push((place / 4) % width);
  return found.length ? (Math.min(...found) + Math.max(...found)) / 2 : null;
}"""


def test_sliders_change_the_answer_beyond_the_data_too_and_a_number_may_be_missing(page):
    page.locator("#card-line input[type=range]").focus()
    page.keyboard.press("End")
    expect(page.locator("#card-line output")).to_have_text("4")
    expect(page.locator('#card-line li[data-model="line_gd"] strong')).to_have_text(re.compile(r"^y (7\.9|8\.0)"))
    answers = page.locator("#card-diabetes .votes")
    before = answers.inner_text()
    slider = page.get_by_role("slider", name="Glucose", exact=True)
    slider.focus()
    page.keyboard.press("End")
    expect(answers).not_to_have_text(before)
    page.get_by_label("Glucose is missing").check()
    expect(slider).to_be_disabled()
    expect(page.locator("#card-diabetes output").nth(1)).to_have_text("–")  # noqa: RUF001


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """A table with words and dates, a model of it that nobody has trained, and the page's address with that alone."""
    folder = tmp_path_factory.mktemp("tiles")
    made, exported = Made(folder / "made", "german.csv"), folder / "models" / "tiles" / "exported"
    exported.mkdir(parents=True)
    (exported / "model.onnx").write_bytes(made.own.onnx)
    (exported / "signature.json").write_text(json.dumps(made.signature))
    (exported / "README.md").write_text("# tiles")
    for name in ("learning_curve.png", "predictions.png"):
        Image.new("L", (200, 100)).save(exported / name)
    with served(folder, 1) as address:
        yield made, address


def test_a_row_of_a_table_is_filled_in_by_the_rules_of_its_columns(browser, tiles):
    made, address = tiles
    model = predict.Model(str(made.path))
    with loaded(browser, address, 1) as page:
        card, said = page.locator("#card-tiles"), page.locator('#card-tiles li[data-model="tiles"]')
        for row in (dict.fromkeys(row_of(), ""), row_of(heat="1.907,5 €", note="two\nlines"), row_of(made="1.1.1969", code="false")):
            for name, value in row.items():
                field = card.get_by_label(name, exact=True)
                field.select_option(value) if name in made.signature["categories"] else field.fill(value)
            (item,) = model.read(json.dumps(row))
            (answer,) = model.answer([item.values])
            expect(said.locator("strong")).to_have_text(answer["label"])
            expect(said).to_contain_text(f"{100 * answer['probabilities'][answer['label']]:.1f} %")
        heat = card.get_by_label("heat, °C", exact=True)
        assert re.fullmatch(r"-?[\d]+(,\d+)?", heat.get_attribute("placeholder")), "the mean, as the column writes numbers"
        assert card.get_by_label("seen", exact=True).get_attribute("placeholder") == "YYYY-MM-DDThh:mm"
        heat.fill("12a")
        expect(card.locator(".error")).to_have_text('This row: heat, °C is "12a": expected a number, or an empty cell where it is missing')


def test_a_photograph_is_read_and_a_text_file_is_refused_in_a_sentence(page, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    page.locator("#photo").set_input_files(tmp_path / "a.jpg")
    expect(page.locator('#photo-votes li[data-model="cifar10_cnn"] strong')).to_be_visible()
    (tmp_path / "text.png").write_text("no picture")
    for place in ("photo", "digit"):
        page.locator(f"#{place}").set_input_files(tmp_path / "text.png")
        expect(page.locator(f"#{place}-votes .error")).to_have_text("text.png is no picture that can be read here, or one too large.")


PASTE = """([bytes, name, type]) => {
  const clipboard = new DataTransfer();
  clipboard.items.add(new File([Uint8Array.from(bytes)], name, { type }));
  document.activeElement.dispatchEvent(new ClipboardEvent("paste", { clipboardData: clipboard, bubbles: true }));
}"""


def test_a_picture_is_pasted_where_the_focus_is(page, built, tmp_path):
    inputs, targets = read_split(built / "data/mnist/processed", "test")
    photographed(inputs[0, :, :, 0], np.random.default_rng(0), True).save(tmp_path / "digit.png")
    page.locator("#pad").focus()
    page.evaluate(PASTE, [list((tmp_path / "digit.png").read_bytes()), "digit.png", "image/png"])
    settled(page)
    expect(page.locator('li[data-model="mnist_cnn_wide"] strong')).to_have_text(str(targets[0]))
    expect(page.locator("#photo-votes li")).to_have_count(0)
    page.evaluate(PASTE, [list(b"no picture"), "notes.txt", "text/plain"])
    expect(page.locator("#digit-votes .error")).to_have_text("notes.txt is no picture that can be read here, or one too large.")


MEAN_OF_PAD = """() => {
  const pad = document.querySelector("#pad"), { data } = pad.getContext("2d").getImageData(0, 0, pad.width, pad.height);
  return data.reduce((sum, value) => sum + value, 0) / data.length;
}"""


@pytest.mark.parametrize("ink", [0, 255], ids=["black", "white"])
def test_a_drawing_on_nothing_is_read(page, built, tmp_path, ink):
    """As drawing programs save it: transparent but for the strokes, which would be lost on a ground of their own colour."""
    inputs, targets = read_split(built / "data/mnist/processed", "test")
    strokes = Image.fromarray(inputs[0, :, :, 0]).resize((560, 560))
    drawing = Image.new("RGBA", (1600, 1600), (ink, ink, ink, 0))
    drawing.paste(Image.merge("RGBA", [Image.new("L", strokes.size, ink)] * 3 + [strokes]), (500, 400))
    drawing.save(tmp_path / "digit.png")
    page.locator("#digit").set_input_files(tmp_path / "digit.png")
    settled(page)
    expect(page.locator('li[data-model="mnist_cnn_wide"] strong')).to_have_text(str(targets[0]))
    assert 128 < page.evaluate(MEAN_OF_PAD) < 254, "dark strokes on a light pad, which can be drawn on"


def with_other_golden_outputs(content: bytes) -> bytes:
    expected = json.loads(content)["golden"]["outputs"]["probabilities"]["base64"].encode()
    return content.replace(expected, b"AAAAAA" + expected[6:])


@pytest.mark.parametrize(
    ("file", "change", "place", "said"),
    [
        ("signature.json", lambda _: b"<html>", "#state", "models/names_gru/signature.json cannot be read ("),
        ("signature.json", with_other_golden_outputs, "#card-names .error", "probabilities of the golden input differs by"),
        ("model.onnx", lambda content: content[: len(content) // 2], "#card-names .error", "model.onnx is damaged, cut short, or no ONNX"),
    ],
    ids=["signature", "golden", "model"],
)
def test_a_model_that_cannot_be_used_is_said(browser, address, built, file, change, place, said):
    page, content = browser.new_page(), (built / "models/names_gru/exported" / file).read_bytes()
    page.route(f"**/names_gru/{file}", lambda route: route.fulfill(body=change(content)))
    page.goto(address)
    expect(page.locator(place)).to_contain_text(said)
    page.close()


def test_it_fits_a_phone_and_a_desk_in_light_and_dark(page):
    for width, scheme in ((320, "light"), (360, "dark"), (1280, "light"), (1280, "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))) > 3 * 128) == (scheme == "light")


def test_a_picture_of_20_000_pixels_a_side_is_read_or_refused_in_a_sentence(page, tmp_path):
    """What a browser can hold is its own matter: either way the page goes on."""
    Image.new("1", (20_000, 20_000)).save(tmp_path / "large.png")
    page.locator("#photo").set_input_files(tmp_path / "large.png")
    expect(page.locator("#photo-votes strong, #photo-votes .error")).not_to_have_count(0, timeout=60_000)
    page.get_by_label("names").fill("Okafor")
    expect(page.locator('li[data-model="names_gru"] strong')).to_be_visible()
