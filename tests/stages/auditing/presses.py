"""Small invented tables of presses that burn tiles, one fault each, and what the stage audit finds of them."""

import contextlib
import json
import random

from stages.audit import audit
from stages.common.files import as_json
from stages.preprocess import preprocess
from stages.reading.schema import check_schema
from tests.toy import RUNTIME

NUM = 120


def presses(num=NUM):
    """Rows of good and bad presses: columns by name. `bad` depends on heat, and no column tells it."""
    draw = random.Random(3)
    heat = [round(draw.uniform(180, 250), 1) for _ in range(num)]
    return {
        "heat": heat,
        "press": [round(draw.uniform(1, 9), 2) for _ in range(num)],
        "clay": [draw.choice(["red", "white", "grey"]) for _ in range(num)],
        "bad": [str(int(value + draw.gauss(0, 25) > 215)) for value in heat],
    }


def schema_of(columns, targets, **types):
    """Numbers are columns of numbers, other words categories, unless told."""
    found = {}
    for name, cells in columns.items():
        words = [str(cell).strip() for cell in cells if str(cell).strip()]
        is_number = name not in targets and all(not isinstance(cell, str) for cell in cells if cell != "")
        found[name] = {"type": "number"} if is_number else {"type": "category", "levels": list(dict.fromkeys(sorted(words)))}
        found[name] = types.get(name, found[name])
    return {"file": "presses.csv", "targets": targets, "columns": found}


def build(root, columns, *, targets=("bad",), accept=(), types=None, schema=None, **section):
    """Preprocesses and audits the columns as the dataset `presses`; returns its findings by name."""
    raw = root / "data/presses/raw"
    raw.mkdir(parents=True, exist_ok=True)
    lines = [",".join(columns), *(",".join(map(str, cells)) for cells in zip(*columns.values(), strict=True))]
    (raw / "presses.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    schema = schema or schema_of(columns, list(targets), **(types or {}))
    return build_raw(root, "presses", schema, accept, **section)


def build_raw(root, name, schema, accept=(), **section):
    """The same of a raw file that is there."""
    classes = [len(schema["columns"][target].get("levels", ())) for target in schema["targets"]]
    task = "regression" if not classes[0] else "multilabel" if len(classes) > 1 else "binary" if classes[0] == 2 else "multiclass"
    section = {"task": task, "test_fraction": 0.2, "val_fraction": 0.1, "max_bad_fraction": 0.1} | section
    entry = {"kind": "table", "raw": f"data/{name}/raw", "preprocess": section}
    (root / "params.yaml").write_text(json.dumps({"runtime": RUNTIME, "datasets": {name: entry}}))
    checked = check_schema(schema, "schema").model_dump(
        exclude_none=True, exclude={"columns": {one: {"why", "example"} for one in schema["columns"]}}
    )
    for what, content in (("datasets", {"schema": checked}), ("accepted", {"accept": list(accept)})):
        path = root / "data/checked" / what / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_json(content))
    with contextlib.chdir(root):
        preprocess(name)
        audit(name)
    return {finding["name"]: finding for finding in written(root, name)["findings"]}


def written(root, name="presses", file="findings"):
    return json.loads((root / "data" / name / "audit" / f"{file}.json").read_text(encoding="utf-8"))
