"""The examples in docs/extending.md, as they stand there: a family of networks and a kind of data, from `check` to `export`."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
STAGES = """
from stages import audit, check, download, evaluate, export, preprocess, report, train

check.check("params.yaml")
download.download("diabetes")
for dataset in ("diabetes", "houses"):
    preprocess.preprocess(dataset)
    audit.audit(dataset)
for model in ("diabetes_gated", "houses_gated"):
    train.train(model)
    evaluate.evaluate(model)
    export.export(model)
    report.report(model)
"""


def test_the_page_s_examples_build_models(tmp_path):
    for name in ("stages", "examples", "data/schemas"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    files = re.findall(r"`(stages/\w+/\w+\.py)`[^\n`]*:\n\n```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert [name for name, _ in files] == ["stages/architectures/gated_mlp.py", "stages/datasets/measurements.py"]
    for name, content in files:
        (tmp_path / name).write_text(content, encoding="utf-8")
    params, entries = (
        (ROOT / "params.yaml").read_text(encoding="utf-8"),
        re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL),
    )
    for section, entry in zip(("models", "artifacts", "datasets", "models"), entries, strict=True):
        params = params.replace(f"\n{section}:\n", f"\n{section}:\n{entry}", 1)
    (tmp_path / "params.yaml").write_text(params, encoding="utf-8")
    (tmp_path / "data" / "houses" / "raw").mkdir(parents=True)
    rows = "\n".join(f"{area},{rooms},{3 * area + rooms}" for area in range(40, 60) for rooms in range(1, 6))
    (tmp_path / "data" / "houses" / "raw" / "houses.csv").write_text(f"area,rooms,price\n{rows}\n", encoding="utf-8")

    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    done = subprocess.run([sys.executable, "-c", STAGES], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for model, metric in (("diabetes_gated", "accuracy"), ("houses_gated", "mae")):
        assert metric in json.loads((tmp_path / "models" / model / "metrics.json").read_text(encoding="utf-8"))
        assert (tmp_path / "models" / model / "exported" / "model.onnx").stat().st_size > 0


def test_the_page_and_the_readme_link_to_files_that_are_there():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"):
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", text):
            linked = (page.parent / target) if target else page
            assert linked.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
                slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
                assert anchor in slugs, f"{page.name}: {target}#{anchor}"


def test_the_readme_is_read_in_five_minutes():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1200
    assert len(re.findall(r"^\|-", text, flags=re.MULTILINE)) == 1
