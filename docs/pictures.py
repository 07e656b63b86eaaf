"""Makes the pictures of Prefect's UI in docs/pictures, with a real server and a real browser.

Command: python -m docs.pictures [--work FOLDER]        (needs Chromium on the PATH)
Reads:   the committed state of this repository, which it clones into the work folder
Writes:  docs/pictures/{run,metrics,model}.png
"""

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from pipelines.running.server import free_port, server_at

ROOT = Path(__file__).parents[1]
PICTURES = Path(__file__).parent / "pictures"
MODELS = ("mnist_cnn", "names_gru", "diabetes_mlp", "line_sgd")
WIDTH, NUM_COLOURS, RENDER_MS = 1280, 128, 20_000
QUIET = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "pictures")
    work = parser.parse_args().work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(work)], check=True)
    os.chdir(work)
    (work / "dvc.lock").unlink()
    with server_at(free_port()) as api:
        targets = [f"{stage}@{model}" for model in MODELS for stage in ("evaluate", "export")]
        subprocess.run([sys.executable, "-m", "pipelines.rebuild", *targets], env=os.environ | {"PREFECT_API_URL": api}, check=True)
        take_pictures(api)


def take_pictures(api: str) -> None:
    ui = api.removesuffix("/api")
    (run,) = ask(api, "flow_runs/filter")
    artifacts = {one["key"]: one["id"] for one in ask(api, "artifacts/filter")}
    PICTURES.mkdir(exist_ok=True)
    shoot(f"{ui}/runs/flow-run/{run['id']}", PICTURES / "run.png", 800)
    shoot(f"{ui}/artifacts/artifact/{artifacts['metrics']}", PICTURES / "metrics.png", 720)
    shoot(f"{ui}/artifacts/artifact/{artifacts['model-mnist-cnn']}", PICTURES / "model.png", 1160)


def ask(api: str, path: str) -> Any:
    response = requests.post(f"{api}/{path}", json={}, timeout=30)
    response.raise_for_status()
    return response.json()


def shoot(address: str, path: Path, height: int) -> None:
    """A page as a PNG of few colours, which is a quarter of its size."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        options = [*QUIET.split(), "--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
        sizes = [f"--window-size={WIDTH},{height}", f"--virtual-time-budget={RENDER_MS}", f"--screenshot={shot}"]
        subprocess.run(["chromium", *options, *sizes, address], check=True, capture_output=True)
        with Image.open(io.BytesIO(shot.read_bytes())) as image:
            image.convert("RGB").quantize(NUM_COLOURS).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
