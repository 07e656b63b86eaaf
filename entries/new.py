"""Makes a dataset and a model of data of your own: looks at it, says what it found, and writes the two entries.

Command: python -m entries.new DATA [--target COLUMN] [--name NAME] [--dry-run] ...      (make new DATA=~/orders.csv TARGET=price)
Reads:   DATA, a file or a folder, or the address of a file, from which DVC fetches it; what is looked for in it stands in
         entries/<kind>/proposal.py: pictures, arrays, texts, tables
Writes:  data/NAME/raw (a copy, which DVC tracks), data/schemas/NAME.yaml where the kind of data has a schema (how each column is read, and
         why), an entry under datasets and one under models in params.yaml, a line under artifacts in dvc.yaml; all other bytes of these
         files stay as they are

What is not told and cannot be found is asked for on a terminal, and refused elsewhere. A failure takes away again what was made; what a
kill leaves, the same command or `make remove` takes away, by the mark data/NAME/.new, which stands there until params.yaml is written.
"""

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from entries.arrays import proposal as arrays
from entries.lines import added, flow, indented, without
from entries.pictures import proposal as pictures
from entries.project import GRAPH, NAME, PARAMS, Entry, Project, ask, delete, run, unignore_raw
from entries.proposal import Proposal, flag, is_usable
from entries.tables import proposal as tables
from entries.texts import proposal as texts
from pipelines.dvc.waiting import repository_lock
from pipelines.running.leftovers import UNFINISHED
from pipelines.running.locks import alone
from stages.common.files import naming
from stages.reading.contents import printable
from stages.reading.schema import path_of
from stages.shell.errors import UserError

KINDS: tuple[Any, ...] = (pictures, arrays, texts, tables)  # the first that the data fits
COMMON = ("data", "name", "dry_run")  # options of every kind; its own are its TAKES


def new(data: str, options: argparse.Namespace) -> None:
    with fetched(data or asked_for_data()) as (path, address):
        proposal = look(path, options)
        name = options.name or as_name(proposal.path)
        if not NAME.fullmatch(name) or name in ("checked", "schemas"):
            raise UserError(f"{name!r} cannot be a name: use letters, digits, _ and -, a letter or digit first (NAME=...).")
        refuse_taken(Project(), name)
        proposal.print()
        schema = proposal.schema(address)
        values = {"datasets": proposal.dataset(name), "models": proposal.model(name)}
        if "test_fraction" in options.given and values["datasets"]["preprocess"].get("test_fraction") != options.test_fraction:
            raise UserError("--test-fraction means nothing where folders, files, a column or --set say what the test is: leave it out.")
        entries = {section: flow(name, its) for section, its in values.items()}
        if not is_unfinished(name):
            with_entries(Project(), name, entries)  # refuses a layout that cannot be edited before anything is written
        if options.dry_run:
            for section, entry in entries.items():
                print(f"\nunder {section} in {PARAMS}:\n{indented(entry)}")
            print(f"\nunder artifacts in {GRAPH}:\n{indented(artifact(name))}")
            if schema:
                print(f"\n{path_of(name)}:\n{schema}")
            return
        sys.stdout.flush()  # where nobody reads it any more, nothing is written
        write(proposal, name, schema, entries)
    own = f"{path_of(name)}, " if schema else ""
    print(f"\nWritten: {PARAMS} (datasets.{name}, models.{name}), {GRAPH} (artifacts), {own}data/{name}/raw.dvc")
    print(f"Next: dvc repro export@{name} report@{name}   (or make repro); make remove NAME={name} takes it away again")


def look(path: Path, options: argparse.Namespace) -> Proposal:
    """What is made of the data at `path`; a folder of one file stands for it."""
    if path.is_dir():
        files = [file for file in path.iterdir() if not file.name.startswith(".")]
        path = files[0] if len(files) == 1 and files[0].is_file() else path
    kind = next(kind for kind in KINDS if kind.fits(path, options))
    if path.exists() and (unused := [flag(name) for name in options.given if name not in (*COMMON, *kind.TAKES)]):
        means, them = ("mean", "them") if len(unused) > 1 else ("means", "it")
        raise UserError(f"{' and '.join(unused)} {means} nothing for {kind.__package__.rpartition('.')[2]}: leave {them} out.")
    proposal: Proposal = kind.look(path, options)
    return proposal


@contextlib.contextmanager
def fetched(data: str) -> Iterator[tuple[Path, str]]:
    """The data, and its address if it was fetched, without what may be secret (a password, a query)."""
    if not re.match("[a-z][a-z0-9+]+://", data, re.IGNORECASE):
        yield Path(data).expanduser(), ""
        return
    parts = urlsplit(data)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    name = unquote(parts.path.rpartition("/")[2])
    if not is_usable(name):
        raise UserError(f"{address} does not end in the name of a file: give the address of one file, such as https://host/orders.csv.")
    with tempfile.TemporaryDirectory() as folder:
        print(f"Fetching {address}")
        dvc("get-url", data, str(Path(folder) / name), failed=f"{address} cannot be fetched")
        yield Path(folder) / name, address


def asked_for_data() -> str:
    return ask("Which data?", "DATA=..., and what is to be predicted with TARGET=... (make new DATA=~/orders.csv TARGET=price)")


def as_name(path: Path) -> str:
    """From a file's name."""
    stem = path.name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9_]+", "_", stem).strip("_").lower() or "data"


def refuse_taken(project: Project, name: str, just_made: bool = False) -> None:
    remedy = f"choose another name (NAME=...), or remove it first (make remove NAME={name})"
    for entry in (Entry(section, name) for section in ("datasets", "models", "sources")):
        if project.has(entry):
            raise UserError(f"params.yaml has a {entry} already: {remedy}.")
        if not just_made and project.is_left(entry) and not is_unfinished(name):
            raise UserError(f"{entry.folder} or dvc.lock holds what is left of a {entry}: {remedy}.")


def is_unfinished(name: str) -> bool:
    return Path("data", name, UNFINISHED).exists()


def write(proposal: Proposal, name: str, schema: str, entries: dict[str, str]) -> None:
    """All of it, params.yaml last; or nothing."""
    root, folder = Path.cwd(), Path("data", name)
    with alone("make new"):
        with repository_lock(root, print):
            refuse_taken(Project(), name)
            if is_unfinished(name):
                clear(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with naming(folder):
                (folder / UNFINISHED).touch()
            if schema:
                write_schema(name, schema)
            (folder / "raw").mkdir()
            proposal.place(folder / "raw")
            dvc("add", str(folder / "raw"), failed=f"dvc add {folder}/raw failed")
            with repository_lock(root, print):
                refuse_taken(project := Project(), name, just_made=True)
                project.write(with_entries(project, name, entries), GRAPH, PARAMS)
                (folder / UNFINISHED).unlink()
        except BaseException:
            with repository_lock(root, print):
                if not Project().has(Entry("models", name)):
                    clear(name)
            raise


def write_schema(name: str, schema: str) -> None:
    path_of(name).parent.mkdir(parents=True, exist_ok=True)
    with naming(path_of(name)):
        path_of(name).write_text(schema, encoding="utf-8")


def dvc(*arguments: str, failed: str) -> None:
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        raise UserError(f"{failed}: {printable('; '.join(said)).rstrip('.') or f'DVC ended with {done.returncode}'}.")


def clear(name: str) -> None:
    """Takes away what was made for entries that params.yaml does not have; the mark last."""
    project, folder = Project(), Path("data", name)
    if project.is_artifact(Entry("models", name)):
        project.write({GRAPH: without(project.texts[GRAPH], ("artifacts", name))}, GRAPH)
    for path in (folder / "raw", folder / ".raw.removed", folder / "raw.dvc", path_of(name)):
        if path.exists():
            delete(path)
    unignore_raw(folder)
    (folder / UNFINISHED).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def with_entries(project: Project, name: str, entries: dict[str, str]) -> dict[Path, str]:
    texts = dict(project.texts)
    for section, entry in entries.items():
        texts[PARAMS] = added(texts[PARAMS], section, name, entry)
    texts[GRAPH] = added(texts[GRAPH], "artifacts", name, artifact(name))
    return texts


def artifact(name: str) -> str:
    return f"{name}: {{path: models/{name}/exported/model.onnx, type: model}}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m entries.new", description="Make a dataset and a model of data of your own.")
    add = parser.add_argument
    add("data", nargs="?", default="", metavar="DATA", help=f"{'; '.join(kind.DATA for kind in KINDS)}; or its address")
    add("--target", action="append", metavar="COLUMN", help="what is to be predicted; more than once for several")
    add("--name", help="of the dataset and the model; default: from the file's name")
    add("--dry-run", action="store_true", help="say what would be written, and change nothing")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of preprocess, of pictures and texts: see docs/keys.md")
    add("--text", action="append", metavar="COLUMN", help="the texts by which it is predicted; more than once: they are joined")
    add("--test-fraction", type=float, default=0.2, help="of all rows; default: 0.2")
    tables.add_options(parser)
    pictures.add_options(parser)
    arrays.add_options(parser)
    options = parser.parse_args(arguments)
    options.given = [name for name, value in vars(options).items() if value != parser.get_default(name)]
    run(lambda: new(options.data, options))


if __name__ == "__main__":
    main()
