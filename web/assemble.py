"""Puts the page together: static files that any web server can serve, with the runtime and the exported models in it.

Command: python -m web.assemble FOLDER [--only MODEL ...] [--serve] [--port PORT]
Reads:   web/; models/*/exported, of the models in params.yaml; onnxruntime-web from web/node_modules, into which npm installs it if need be
Writes:  FOLDER (one that it made earlier is replaced whole): the page, vendor/, models/<model>/ and models.json (one's own models first)

With --serve it is served on loopback until Ctrl-C.

npm installs what package-lock.json pins by SHA-512, and runs no script of a package: of all that comes only three files are used, whose
SHA-256 stand here. The lock has no addresses of a registry, so that npm's own settings name it. For another version: change package.json,
run `npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved` in web/, and write the new files' SHA-256 here.
"""

import argparse
import contextlib
import fcntl
import functools
import hashlib
import http.server
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.predict import files_below

ROOT = Path(__file__).parents[1]
WEB, RUNTIME = ROOT / "web", ROOT / "web" / "node_modules" / "onnxruntime-web" / "dist"
READERS = ("rows.mjs", "cells.mjs")
PAGE = (
    "index.html",
    "style.css",
    *(f"{room}.js" for room in ("page", "models", "elements", "answers", "gallery")),
    *(f"{room}.js" for room in ("photographs", "taking", "pictures", "texts", "tables", "drawings", "pad")),
)
VENDORED = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
EXPORTED = ("model.onnx", "signature.json", "README.md", "learning_curve.png", "predictions.png")  # pictures where there are any
HOST, PORT = "127.0.0.1", 8000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="leave out all other models")
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--port", type=int, default=PORT)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    server = listen(folder, arguments.port) if arguments.serve else None  # first: who serves there already serves that very folder
    install_runtime()
    models = assemble(folder, ROOT / "models", arguments.only)
    print(f"{arguments.folder}: the page and {models} models", flush=True)
    if server:
        with server, contextlib.suppress(KeyboardInterrupt):
            print(f"http://{HOST}:{server.server_port} (Ctrl-C ends it)", flush=True)
            server.serve_forever()


def install_runtime() -> None:
    """Unless it is there. Of several at once one installs, since npm removes what is there first."""
    with (WEB / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not others_than_pinned():
            return
        if shutil.which("npm") is None:
            sys.exit("error: the page's runtime, onnxruntime-web, is installed by npm, which is not here: install Node.js, and run again.")
        install = ["npm", "ci", "--ignore-scripts", "--no-fund", "--no-audit", "--silent"]
        if subprocess.run(install, cwd=WEB, check=False).returncode:
            sys.exit("error: npm could not install onnxruntime-web (see above): fix that, and run again.")
        if others := others_than_pinned():
            sys.exit(f"error: {others[0]} of onnxruntime-web is not the file whose SHA-256 stands in web/assemble.py: do not use it.")


def others_than_pinned() -> list[str]:
    """The files of the runtime that are missing, or have another SHA-256."""
    return [
        name
        for name, sha256 in VENDORED.items()
        if not (RUNTIME / name).is_file() or hashlib.sha256((RUNTIME / name).read_bytes()).hexdigest() != sha256
    ]


def assemble(folder: Path, models: Path, only: list[str] | None = None) -> int:
    """How many models there are on the page: all that are exported, or `only` some."""
    exported = {file.parts[-3]: file.parent for file in files_below(models) if file.match("*/exported/model.onnx")}
    if not exported:
        sys.exit(f"error: nothing is exported in {models}: run make repro first.")
    if missing := sorted(set(only or []) - exported.keys()):
        sys.exit(f"error: {missing[0]} is not exported in {models}: there are {', '.join(exported)}.")
    if folder.exists() and not (folder / "models.json").is_file():
        sys.exit(f"error: {folder} is there, and this did not make it: name another folder, or remove it.")
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    copy(WEB, PAGE, beside)
    copy(RUNTIME, [*VENDORED], beside / "vendor")
    entries = []
    for name in sorted(set(only or exported), key=lambda name: (is_a_lessons(exported[name]), name)):
        files = [file for file in EXPORTED if (exported[name] / file).is_file()]
        copy(exported[name], files, beside / "models" / name)
        entries.append({"model": name, "files": files})
    for name in READERS:
        shutil.copyfile(ROOT / "examples" / name, beside / name)
    # What the example for JavaScript does, the page does with the same lines; only where the runtime lies differs.
    example = (ROOT / "examples" / "predict.mjs").read_text(encoding="utf-8")
    (beside / "predict.mjs").write_text(example.replace('"onnxruntime-web"', '"./vendor/ort.wasm.bundle.min.mjs"'), encoding="utf-8")
    (beside / "models.json").write_text(json.dumps(entries))
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
    return len(entries)


def is_a_lessons(exported: Path) -> bool:
    """Of what is not one's own, which comes first. What is wrong with a signature, the page says."""
    try:
        return json.loads((exported / "signature.json").read_bytes())["source"] != "own"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return True


def copy(source: Path, names: Sequence[str], target: Path) -> None:
    target.mkdir(parents=True)
    for name in names:
        shutil.copyfile(source / name, target / name)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files, without a line for each; under this machine's own names alone, or a page whose name is made to point here could read them."""

    def send_head(self) -> Any:
        if self.headers.get("Host", "").partition(":")[0] not in (HOST, "localhost"):
            return self.send_error(http.HTTPStatus.FORBIDDEN, "This is served on loopback, under its own name")
        return super().send_head()

    def log_message(self, *_: object) -> None: ...


def listen(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    try:
        return http.server.ThreadingHTTPServer((HOST, port), functools.partial(Handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        sys.exit(f"error: port {port} is not available ({error}): name another, as in make demo PORT=8010.")


if __name__ == "__main__":
    main()
