"""The page with models of one's own: pictures, texts, hostile names and damaged files, in a real browser.

The models are tiny and seen through, so that what is shown is known. Slow: needs Chromium, and npm for the runtime.
"""

import io
import json
import unicodedata

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from examples import predict
from tests.web.served import STATE, loaded, panel_of, served, settled
from tests.web.tiny import write_colours, write_letters, write_seen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "\u202edlrow\u2067",
    "a\x1b]0;t\x07\n",
    "x" * 5000,
    "",
    "مرحبا",
    "می\u200cخواهم",  # noqa: RUF001
    "天",
    "h",
    "i",
    "j",
    "k",
]
ODD = {"kind": "features", "features": [{"name": "b", "mean": "x"}], "input": {"name": "characters", "shape": ["batch", 1]}}
RESIZE = {"shorter_side": 10, "crop": 8}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Files of models by name, in the folder of a page."""
    folder = tmp_path_factory.mktemp("own") / "models"
    made = {
        "seen": write_seen(folder, "seen", use="To see <b>pixels</b> " + "x" * 2000),
        "resized": write_seen(folder, "resized", resize=RESIZE),
        "grey": write_seen(folder, "grey", channels=1),
        "colours": write_colours(folder, "colours"),
        "letters": write_letters(folder, "letters", HOSTILE),
        "letters_twin": write_letters(folder, "letters_twin", HOSTILE, dataset="letters"),
        "lesson": write_letters(folder, "lesson", ["a", "b"], source="sample"),
        "later": write_colours(folder, "later"),
        "cut_short": write_colours(folder, "cut_short", source="sample"),
        "empty": write_colours(folder, "empty"),
        "odd": write_letters(folder, "odd", ["a", "b"], source="sample"),
    }
    made["cut_short"].write_bytes(made["cut_short"].read_bytes()[:-60])
    made["empty"].with_name("signature.json").write_text('{"model": "empty"}')
    for name, changes in (("later", {"kind": "film"}), ("odd", ODD)):
        signature = made[name].with_name("signature.json")
        signature.write_text(json.dumps(json.loads(signature.read_text()) | changes))
    return made


@pytest.fixture(scope="module")
def address(models):
    with served(models["seen"].parents[3], len(models)) as address:
        yield address


LEFT_OUT = f"{STATE} 2 models cannot be shown: see below."


@pytest.fixture
def page(browser, address):
    with loaded(browser, address, state=LEFT_OUT) as page:
        yield page


def photograph(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Something with slopes, edges and noise."""
    rng, (rows, columns) = np.random.default_rng(0), np.mgrid[:height, :width]
    layers = [200 * columns / width, 120 + 80 * np.sin(rows / 9), 255 * (columns // 20 % 2), 255 * (columns < width / 2)]
    pixels = np.stack(layers[: len(mode)], axis=2) + rng.normal(0, 8, (height, width, len(mode)))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), mode)


def as_file(picture: Image.Image, name: str, **options) -> dict[str, object]:
    content = io.BytesIO()
    picture.save(content, name.split(".")[-1].upper(), **options)
    return {"name": name, "mimeType": "", "buffer": content.getvalue()}


TURNED = Image.Exif()
TURNED[0x0112] = 6


def test_a_network_gets_the_pixels_that_predict_py_gives_it(page, models, tmp_path):
    """Within one of 256 brightnesses: what is between whole numbers is rounded once or twice."""
    files = [
        as_file(photograph(90, 61), "turned.jpeg", quality=95, subsampling=0, exif=TURNED),
        as_file(photograph(50, 70, "RGBA"), "transparent.png"),
        as_file(photograph(8, 8), "exact.png"),
        as_file(photograph(900, 700), "large.webp", lossless=True),
    ]
    for file in files:
        (tmp_path / str(file["name"])).write_bytes(file["buffer"])
    for model in ("seen", "resized", "grey"):
        panel, own = panel_of(page, model), predict.Model(str(models[model]))
        panel.locator("input[type=file]").first.set_input_files(files)
        for place, file in enumerate(files):
            panel.locator(".thumbnail").nth(place).click()
            expect(settled(panel).locator("strong")).to_contain_text("pixel 0")
            said = panel.locator("strong").inner_text().replace(", ", " ").split(" ")
            (item,) = own.read(str(tmp_path / str(file["name"])))
            expected = item.values.ravel()[np.linspace(0, item.values.size - 1, 6).astype(int)]
            np.testing.assert_allclose([float(number) for number in said[2::3]], expected, atol=1)


def test_ones_own_models_come_first_and_none_is_fetched_before_it_is_asked(browser, address):
    fetched = []
    with loaded(browser, address, state=LEFT_OUT) as page:
        page.on("request", lambda request: fetched.append(request.url.split("/")[-2]) if request.url.endswith(".onnx") else None)
        assert page.locator("#sections > section h2").all_inner_texts() == ["PICTURES", "TEXTS", "TABLES"]
        assert page.locator("#pictures [role=tab]").all_inner_texts() == ["colours", "grey", "resized", "seen", "cut short"]
        assert page.locator("#texts [role=tab]").all_inner_texts() == ["letters", "lesson"]
        assert page.title() == "colours, grey, letters · Reprise"
        panel_of(page, "letters").locator("textarea").fill("Reprise")
        settled(panel_of(page, "letters"))
        assert sorted(set(fetched)) == ["letters", "letters_twin"]
        page.locator("#tab-card-letters").press("ArrowRight")
        expect(page.locator("#tab-card-lesson")).to_be_focused()
        expect(page.locator("#card-letters")).to_be_hidden()


def test_a_model_that_is_damaged_costs_itself_and_says_so(page):
    for name in ("empty", "later"):
        said = f"models/{name}/signature.json is damaged, or of a later version than this page."
        expect(page.locator(".broken", has=page.get_by_role("heading", name=name)).locator(".error")).to_have_text(said)
    expect(panel_of(page, "odd").locator(".error")).to_contain_text("This cannot be shown: a signature is damaged")
    panel = panel_of(page, "cut_short")
    panel.locator("input[type=file]").first.set_input_files(as_file(photograph(9, 9), "a.png"))
    expect(panel.locator(".answers .error")).to_contain_text("model.onnx is damaged, cut short, or no ONNX model")
    panel = panel_of(page, "colours")
    panel.locator("input[type=file]").first.set_input_files(as_file(Image.new("RGB", (9, 9), (255, 200, 0)), "a.png"))
    expect(settled(panel).locator("strong")).to_have_text("red, green")


def test_several_classes_at_once_are_those_above_half(page):
    panel = panel_of(page, "colours")
    expect(panel.locator(".bars li")).to_have_text(["red", "green", "blue"])  # before anything is asked
    files = [as_file(Image.new("RGB", (9, 9), colour), f"{place}.png") for place, colour in enumerate([(0, 255, 51), (0, 0, 0)])]
    panel.locator("input[type=file]").first.set_input_files(files)
    expect(panel.locator(".thumbnail")).to_have_text(["green", "none of them"])
    expect(settled(panel).locator(".bars li")).to_have_text(["green100.0 %", "blue20.0 %", "red0.0 %"])
    panel.get_by_role("button", name="Clear").click()
    expect(panel.locator(".verdict")).to_have_text("Waiting for a picture")


def test_names_of_classes_are_shown_as_text_and_by_themselves(page):
    panel = panel_of(page, "letters")
    panel.get_by_text("2 models answer").click()
    panel.get_by_label("letters_twin").uncheck()
    panel.locator("textarea").fill("".join(map(chr, range(0x60, 0x60 + 4 * len(HOSTILE)))))
    bars = settled(panel).locator(".bars li")
    shown = [text.removesuffix("8.3 %").strip() for text in bars.all_inner_texts()]
    assert shown == [
        HOSTILE[0],
        "\\u202edlrow\\u2067",
        "a\\u001b]0;t\\u0007\\u000a",
        "x" * 80 + "…",
        "(no name)",
        *HOSTILE[5:8],
        "4 others\n33.3 %",
    ]
    assert bars.locator("bdi").count() == 8
    assert page.evaluate("document.querySelectorAll('#sections img').length") == 0
    use = panel_of(page, "seen").locator(".use").inner_text()
    assert use.startswith("To see <b>pixels</b> xxx") and len(use) == 601


SCRIPTS = ("Grüße, e\u0301te\u0301!", "Привет мир", "مرحبا", "नमस्ते दुनिया", "天気がいいですね", "한국어", "🦊👩\u200d🚀", "  \ta")


def test_texts_of_any_script_are_sent_as_code_points_in_nfc(page):
    panel = panel_of(page, "lesson")
    for text in SCRIPTS:
        panel.locator("textarea").fill(text)
        codes = [ord(sign) % 2 for sign in unicodedata.normalize("NFC", text.strip())]
        share = max(codes.count(0), codes.count(1)) / len(codes)
        expect(settled(panel).locator(".verdict .share")).to_have_text(f"{100 * share:.1f} %")


def test_each_line_is_a_text_unless_they_are_one(page):
    panel = panel_of(page, "lesson")
    panel.locator("textarea").fill("bb\n\nb<i>\r\n" + "c" * 300)
    expect(panel.locator(".line .title")).to_have_text(["bb", "b<i>", "c" * 80 + "…"])
    expect(settled(panel).locator(".line strong")).to_have_text(["a", "a", "b"])
    panel.get_by_label("Each line is a text of its own").uncheck()
    expect(settled(panel).locator(".verdict strong")).to_have_text("b")
    panel.locator("textarea").fill("\n".join("ab" * 60))
    panel.get_by_label("Each line is a text of its own").check()
    expect(panel.locator(".answers > li")).to_have_count(101)
    expect(panel.locator(".answers > li").last).to_have_text("The first 100 of 120 lines are answered.")
    panel.locator("textarea").fill(" ")
    expect(panel.locator(".verdict")).to_have_text("Waiting for a text")


DROP = """([bytes, name]) => {
  const carried = new DataTransfer();
  carried.items.add(new File([Uint8Array.from(bytes)], name));
  document.querySelector("footer").dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true }));
}"""
CAMERA = """navigator.mediaDevices.getUserMedia = async () => {
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  [canvas.width, canvas.height] = [64, 48];
  setInterval(() => { context.fillStyle = "#00f"; context.fillRect(0, 0, 64, 48); }, 30);
  return canvas.captureStream();
};"""


def test_pictures_are_dropped_anywhere_and_taken_by_a_camera(browser, address):
    with loaded(browser, address, CAMERA, LEFT_OUT) as page:
        panel = panel_of(page, "colours")
        page.evaluate(DROP, [list(as_file(Image.new("RGB", (9, 9), "red"), "a.png")["buffer"]), "a.png"])
        expect(panel.locator(".verdict strong")).to_have_text("red")
        panel.get_by_role("button", name="Camera", exact=True).click()
        expect(panel.locator(".verdict strong")).to_have_text("blue")
        panel.get_by_role("button", name="Take the picture").click()
        expect(panel.locator(".thumbnail")).to_have_text(["red", "blue"])
        panel.get_by_role("button", name="Stop the camera").click()
        expect(panel.locator("video")).to_have_count(0)


def scans(count: int) -> bytes:
    """A JPEG that repeats its last scan."""
    file = io.BytesIO()
    Image.new("L", (64, 64), 128).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last, table = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xc4")
    return data[:-2] + data[table:last] + data[last:-2] * count + b"\xff\xd9"


def large() -> bytes:
    file = io.BytesIO()
    Image.new("1", (8_000, 8_000)).save(file, "PNG")
    return file.getvalue()


def test_what_cannot_be_read_as_a_picture_or_takes_too_long_is_refused_in_a_sentence(page):
    panel, unread = panel_of(page, "colours"), "cannot be read as a picture here: save it as JPEG, PNG or WebP."
    for name, content, said in (
        ("\u202ea.png", b"no picture", f"\\u202ea.png {unread}"),
        ("short.jpg", b"\xff\xd8\xff", f"short.jpg {unread}"),
        ("scans.jpg", scans(40), "scans.jpg is a JPEG of more than 32 scans: save it again."),
        ("large.png", large(), "large.png has 64,000,000 pixels; at most 50,000,000 are read: make it smaller."),
    ):
        panel.locator("input[type=file]").first.set_input_files({"name": name, "mimeType": "image/png", "buffer": content})
        expect(settled(panel).locator(".error")).to_have_text(said)
    panel.locator("input[type=file]").first.set_input_files({"name": "film.jpg", "mimeType": "", "buffer": scans(3) + b"\xff\xda\0\2" * 99})
    expect(panel.locator(".thumbnail").last).to_have_text("red, green, blue")  # a film behind a picture has no scans


def test_it_fits_a_phone_and_a_desk_in_light_and_dark(page):
    panel_of(page, "letters").locator("textarea").fill("Reprise")
    settled(page.locator("#card-letters"))
    panel_of(page, "seen").locator("input[type=file]").first.set_input_files(
        [as_file(photograph(90, 60), f"{place}.png") for place in range(9)]
    )
    for width, scheme in ((320, "light"), (360, "dark"), (1280, "light"), (1280, "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))) > 3 * 128) == (scheme == "light")


def test_what_is_shown_has_names_for_those_who_do_not_see_it(page):
    """Every control has a name, and what is answered is read out."""
    panel = panel_of(page, "letters")
    panel.get_by_text("2 models answer").click()
    panel.get_by_label("letters_twin").uncheck()
    panel.get_by_role("textbox", name="Text for letters").fill("`" * 9)
    expect(panel.get_by_role("status")).to_have_text(f"{HOSTILE[0]} 100.0 %")
    unnamed = """() => [...document.querySelectorAll("button, input, select, textarea, [role=img]")].filter((one) =>
        !(one.textContent.trim() || one.labels?.length || one.getAttribute("aria-label"))).map((one) => one.outerHTML)"""
    assert page.evaluate(unnamed) == []
