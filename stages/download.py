"""Downloads or generates a dataset: reads `source` and `datasets.NAME` of params.yaml, writes data/NAME/raw/.

    python -m stages.download NAME

With source: official the dataset's official files are fetched and checked (stages/reading/fetch.py); with source: sample,
and for datasets that are written out in params.yaml, the dataset's own part on the shelf stages/datasets/ makes raw/.
raw/.source says which of them it was. A download that fails, or is killed, leaves the raw/ of before.
"""

from pathlib import Path

from stages.common.errors import UserError, run_stage
from stages.common.files import replacing_folder
from stages.common.params import check_section, check_source, look_up, read_params
from stages.common.shelves import take_part
from stages.reading.fetch import fetch
from stages.reading.source import write_source


def download(name: str) -> None:
    params = read_params()
    source = check_source(look_up(params, "source"))
    part = take_part("datasets", look_up(params, "datasets", name, "kind"), f"datasets.{name}.kind")
    section = check_section(part.Download, look_up(params, "datasets", name, "download"), f"datasets.{name}.download")
    has_official = "official" in part.Download.model_fields
    if has_official and source == "sample" and section.sample is None:
        raise UserError(f"params.yaml: datasets.{name}.download.sample is null, so there is no stand-in for it: set source to official.")
    with replacing_folder(Path("data") / name / "raw") as raw:
        write_source(raw, source if has_official else "generated")
        if has_official and source == "official":
            for file in section.official:
                fetch(file, raw)
        else:
            part.generate(raw, section)


if __name__ == "__main__":
    run_stage(download, usage="python -m stages.download NAME")
