"""Fetches or makes the raw files of a source: reads `source` and `sources.NAME` of params.yaml, writes data/NAME/raw/.

    python -m stages.download NAME

With source: official the files that params.yaml pins are fetched and checked (stages/reading/fetch.py); with source: sample, and where
the data is written out in params.yaml, the source's own part on the shelf stages/sources/ makes them. raw/.source says which of them it
was. A download that fails, or is killed, leaves the raw/ of before.
"""

from pathlib import Path

from stages.common.files import replacing_folder
from stages.common.params import check_section, check_source, look_up, read_params
from stages.common.shelves import take_part
from stages.reading.contents import write_source
from stages.reading.fetch import fetch
from stages.shell.errors import UserError, run_stage


def download(name: str) -> None:
    params = read_params()
    chosen = check_source(look_up(params, "source"))
    entry = dict(look_up(params, "sources", name))
    part = take_part("sources", entry.pop("kind", None), f"sources.{name}.kind")
    section = check_section(part.Source, entry, f"sources.{name}")
    is_fetched = hasattr(section, "official")
    if is_fetched and chosen == "sample" and not hasattr(section, "sample"):
        raise UserError(f"params.yaml: sources.{name} has no stand-in: set source to official.")
    with replacing_folder(Path("data") / name / "raw") as raw:
        write_source(raw, chosen if is_fetched else "generated", part.STAND_IN if is_fetched and chosen == "sample" else "")
        if is_fetched and chosen == "official":
            for file in section.files():
                fetch(file, raw)
        else:
            part.generate(raw, section)


if __name__ == "__main__":
    run_stage(download, usage="python -m stages.download NAME")
