"""The page in a real Chromium, with models of a folder."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from web import assemble

STATE = "Everything runs in this page: nothing is sent anywhere."


def runtime() -> Path:
    """The folder of onnxruntime-web, which is installed if need be."""
    if not (assemble.RUNTIME.exists() or shutil.which("npm")):
        pytest.skip("there is no npm here to install onnxruntime-web with")
    assemble.install_runtime()
    return assemble.RUNTIME.parent


@contextmanager
def served(folder: Path, count: int) -> Iterator[str]:
    """The page with the models of a folder, served on loopback as `make demo` does, and its address."""
    runtime()
    assert assemble.assemble(folder / "page", folder / "models") == count
    with http.server.ThreadingHTTPServer((assemble.HOST, 0), functools.partial(assemble.Handler, directory=str(folder / "page"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{assemble.HOST}:{server.server_port}"
        server.shutdown()


@contextmanager
def loaded(browser: Browser, address: str, script: str = "", state: str = STATE) -> Iterator[Page]:
    """The page, loaded; at the end there must have been no error, and no request to anybody else."""
    context = browser.new_context()
    page, errors, asked = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    if script:
        page.add_init_script(script)
    page.goto(address)
    expect(page.locator("#state")).to_have_text(state)
    yield page
    assert errors == []
    assert {url for url in asked if not url.startswith((address, "data:", "blob:"))} == set()
    context.close()


def panel_of(page: Page, dataset: str) -> Locator:
    """What is shown of a dataset, chosen by its tab if it has one."""
    if (tab := page.locator(f"#tab-card-{dataset}")).count():
        tab.click()
    return page.locator(f"#card-{dataset}")


def settled(panel: Locator) -> Locator:
    """The answers, when there are those to what was asked last."""
    answers = panel.locator(".answers")
    expect(answers).to_have_attribute("aria-busy", "false", timeout=30_000)
    return answers
