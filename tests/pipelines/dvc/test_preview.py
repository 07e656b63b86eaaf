"""pipelines/dvc/preview.py on the small pipeline: what it says is what a rebuild then does."""

import shutil
import sys
from pathlib import Path

import pytest

from pipelines import rebuild
from pipelines.dvc import preview
from pipelines.dvc.pipeline import Pipeline
from tests.pipelines.small import STAGES, everything, repro
from tests.pipelines.small import rebuild as build

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of pygtrie, by DVC
FOLLOW = {"both": "after each@one", "measured": "after both"}


def set_param(value=5):
    Path("params.yaml").write_text(f"sizes: {{one: {value}, two: {{deep: [2, 3]}}}}\n")


def set_constant(dep):
    Path("dvc.yaml").write_text(STAGES.replace("      deps: [source.txt]", f"      meta: {{constant: [{dep}]}}\n      deps: [source.txt]"))
    set_param()


CHANGES = {
    "nothing": (lambda: None, {}),
    "params": (set_param, {"each@one": "params sizes.one", **FOLLOW}),
    "code": (
        lambda: Path("source.txt").write_text("other\n"),
        {"each@one": "code source.txt", "each@two": "code source.txt", "both": "after each@one, each@two", "measured": "after both"},
    ),
    "command": (lambda: Path("dvc.yaml").write_text(STAGES.replace("wc -c", "wc -l")), {"measured": "command"}),
    "an output that the cache has": (
        lambda: Path("out/one.txt").unlink(),
        {"each@one": "from the cache: output out/one.txt deleted"},
    ),
    "data that was made by another command": (
        lambda: (Path("source.txt").write_text("other\n"), repro("each")),
        {"both": "data out/one.txt; data out/two.txt", "measured": "after both"},
    ),
    "what is known": (
        lambda: (set_param(), build(Pipeline(Path.cwd(), print)), set_param(1)),
        {"each@one": "from the cache: params sizes.one", **FOLLOW},
    ),
    "what never changes what follows": (lambda: set_constant("sizes.one"), {"each@one": "params sizes.one"}),
    "what changes what follows after all": (lambda: set_constant("source.txt"), {"each@one": "params sizes.one", **FOLLOW}),
    "all": (lambda: Path("dvc.lock").unlink(), dict.fromkeys(("each@one", "each@two", "both", "measured"), "never built")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_names_what_would_run_and_why(built, change):
    make, expected = CHANGES[change]
    make()
    assert preview.preview(Pipeline(Path.cwd(), print)) == expected


@pytest.mark.parametrize(("main", "arguments"), [(preview.main, []), (rebuild.main, ["--dry-run"])])
def test_nothing_is_run_or_changed(built, capsys, monkeypatch, main, arguments):
    set_param()
    shutil.rmtree("report")
    before = everything(built)
    monkeypatch.setattr(sys, "argv", ["preview", *arguments, "both"])
    main()
    assert capsys.readouterr().out.splitlines() == ["each@one  params sizes.one", "both      after each@one", "2 of 3 stages would run."]
    assert before == everything(built)
    monkeypatch.setattr(sys, "argv", ["preview", *arguments, "nothing"])
    with pytest.raises(SystemExit, match="error: Stage 'nothing' not found"):
        main()
