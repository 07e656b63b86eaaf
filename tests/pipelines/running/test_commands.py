"""pipelines/running/commands.py: where the logs of runs go. How commands end is for test_supervisor.py and test_rebuild.py."""

from pipelines.running import commands


def test_the_logs_of_the_last_runs_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "NUM_KEPT", 4)
    (tmp_path / "seconds.json").write_text("{}")
    made = []
    for _ in range(6):
        made.append(commands.folder_of_run(tmp_path))
        made[-1].mkdir()
    assert sorted(path for path in tmp_path.iterdir()) == sorted([*made[-4:], tmp_path / "seconds.json"])
