"""The last version of a model beside the present one: evaluated again, with the present code on the present test split."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from prefect import get_run_logger

from pipelines.dvc.lock_file import hash_of
from pipelines.releasing.gate import NotComparable
from pipelines.releasing.remotes import Remotes
from pipelines.releasing.versions import Version, lock_of
from pipelines.running.commands import Commands
from pipelines.running.slots import Slots, num_gpus


@contextmanager
def evaluated_again(version: Version, remotes: Remotes, commands: Commands) -> Iterator[Path]:
    """Within it there is a folder with what evaluate has written of the version's weights, which come from DVC's cache or remote.

    Raises NotComparable, GraphError and SlotError.
    """
    pipeline, model, root = remotes.pipeline, version.model, remotes.git.root
    own = Path("models") / model / "checkpoint.safetensors"
    md5 = hash_of(lock_of(remotes.git, version), f"train@{model}", own.as_posix())
    if md5 is None:
        raise NotComparable(f"the dvc.lock of {version.tag} notes no checkpoint")
    reads = {path.relative_to(root) for path in pipeline.reads(f"evaluate@{model}")}
    links = {path: root / path for path in reads if path.parts[0] != "stages"}
    # All of stages: an earlier version may be of another architecture than the present one.
    links |= {Path(name): root / name for name in ("stages", "params.yaml")} | {own: pipeline.fetch(md5, remotes.of_dvc)}
    (stage,) = (stage for stage in pipeline.plan([f"evaluate@{model}"]) if stage.name == f"evaluate@{model}")
    assert stage.command is not None
    with tempfile.TemporaryDirectory(dir=commands.logs, prefix=f"{model}.") as name:
        folder = Path(name)
        for place, target in links.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).symlink_to(target)
        with Slots.of(pipeline).held(num_gpus(stage), lambda: not commands.is_over) as slot:
            tell = partial(get_run_logger().info, "%s")
            ended = commands.run(f"gate@{model}", stage.command, folder, slot.environment, tell, slot.files)
        if ended.code:
            raise NotComparable(f"with the present code and data, evaluate ends with {ended}")
        yield folder
