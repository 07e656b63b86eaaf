"""What benchmarks change in params.yaml, for figures on the real data, is a params.yaml that the pipeline takes."""

import shutil

from benchmarks.real_data import change_params
from stages.check import check
from stages.common.params import read_params
from tests.toy import ROOT


def test_the_params_of_a_figure_are_checked_and_found_good(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "data/schemas", tmp_path / "data/schemas")
    change_params(tmp_path / "params.yaml", seed=3, threads=2)
    check("params.yaml")
    params = read_params()
    assert (params["source"], params["runtime"]["seed"], params["runtime"]["threads"]) == ("official", 3, 2)
    assert {params["models"][model]["dataset"] for model in ("cifar10_cnn", "cifar10_resnet")} == {"cifar10_jpeg"}
