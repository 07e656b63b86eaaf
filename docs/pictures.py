"""Makes the pictures of Prefect's UI and of the page of web/ in docs/pictures, with real servers and a real browser.

Command: python -m docs.pictures {ui,page} [--work FOLDER]        (needs Chromium on the PATH)
Reads:   ui: the committed state of this repository, which it clones into the work folder; page: the models that are exported here
Writes:  docs/pictures/{run,metrics,model}.png; docs/pictures/page.png and page_phone.png
"""

import argparse
import base64
import functools
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import requests
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from pipelines.serving.server import bypass_proxies, free_port, password, server_at
from web import assemble

ROOT = Path(__file__).parents[1]
PICTURES = Path(__file__).parent / "pictures"
MODELS = ("mnist_cnn", "names_gru", "diabetes_mlp", "line_sgd")
WIDTH, NUM_COLOURS, RENDER_MS = 1280, 256, 5_000
QUIET = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"


PHONE, PAGE_HEIGHT = 390, 1100
SEVEN = [(0.36, 0.3), (0.66, 0.3), (0.46, 0.75)]  # its corners, in parts of the pad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("ui", "page"))
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "pictures")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    PICTURES.mkdir(exist_ok=True)
    if arguments.what == "page":
        take_page(work)
    else:
        take_ui(work)


def take_ui(work: Path) -> None:
    """A clone is rebuilt before a server of its own."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(work)], check=True)
    os.chdir(work)
    (work / "dvc.lock").unlink(missing_ok=True)
    bypass_proxies()
    with server_at(free_port()) as api:
        targets = [f"{stage}@{model}" for model in MODELS for stage in ("evaluate", "export")]
        known = os.environ | {"PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": password()}
        subprocess.run([sys.executable, "-m", "pipelines.rebuild", *targets], env=known, check=True)
        take_pictures(api)


def take_pictures(api: str) -> None:
    ui = api.removesuffix("/api")
    (run,) = ask(api, "flow_runs/filter")
    artifacts = {one["key"]: one["id"] for one in ask(api, "artifacts/filter")}
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        shoot(browser, f"{ui}/runs/flow-run/{run['id']}", PICTURES / "run.png", 800)
        shoot(browser, f"{ui}/artifacts/artifact/{artifacts['metrics']}", PICTURES / "metrics.png", 720)
        shoot(browser, f"{ui}/artifacts/artifact/{artifacts['model-mnist-cnn']}", PICTURES / "model.png", 1160)
        browser.close()


def take_page(work: Path) -> None:
    """The page of the lessons' models, a digit drawn: at a desk by light, and on a phone by dark."""
    assemble.install_runtime()
    assemble.assemble(work, ROOT / "models")
    entries = json.loads((work / "models.json").read_text())
    own = [
        entry["model"]
        for entry in entries
        if json.loads((work / "models" / entry["model"] / "signature.json").read_text())["source"] == "own"
    ]
    if own:
        sys.exit(f"error: {own[0]} is no lesson's, and what is in the docs is for everyone: take it out of models/, and run again.")
    handler = functools.partial(assemble.Handler, directory=str(work))
    with http.server.ThreadingHTTPServer((assemble.HOST, 0), handler) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = chromium(playwright)
        for name, width, is_dark in (("page", WIDTH, False), ("page_phone", PHONE, True)):
            page = browser.new_page(viewport={"width": width, "height": PAGE_HEIGHT}, color_scheme="dark" if is_dark else "light")
            page.goto(f"http://{assemble.HOST}:{server.server_port}")
            page.locator(".pad").wait_for()
            draw(page, SEVEN)
            page.locator('#drawings .answers[aria-busy="false"] strong').first.wait_for()
            page.evaluate("scrollTo(0, 0)")
            save(page.screenshot(), PICTURES / f"{name}.png")
        browser.close()
        server.shutdown()


def draw(page: Page, corners: list[tuple[float, float]]) -> None:
    """One stroke of the mouse over the pad."""
    box = page.locator(".pad").bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=20)
    page.mouse.up()


def ask(api: str, path: str) -> Any:
    user, _, secret = password().partition(":")
    response = requests.post(f"{api}/{path}", json={}, auth=(user, secret), timeout=30)
    response.raise_for_status()
    return response.json()


def chromium(playwright: Playwright) -> Browser:
    program, is_root = shutil.which("chromium"), os.geteuid() == 0
    return playwright.chromium.launch(executable_path=program, args=QUIET.split(), chromium_sandbox=not is_root)


def shoot(browser: Browser, address: str, path: Path, height: int) -> None:
    """A page of Prefect's UI as a PNG of few colours, which is a quarter of its size."""
    page = browser.new_page(viewport={"width": WIDTH, "height": height})
    known = base64.b64encode(password().encode()).decode()
    page.add_init_script(f"localStorage.setItem('prefect-password', '{known}')")  # as the UI does it when one has typed it in
    page.goto(address, wait_until="networkidle")
    page.wait_for_timeout(RENDER_MS)
    save(page.screenshot(), path)
    page.close()


def save(shot: bytes, path: Path) -> None:
    with Image.open(io.BytesIO(shot)) as image:
        image.convert("RGB").quantize(NUM_COLOURS).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
