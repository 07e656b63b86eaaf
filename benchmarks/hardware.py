"""What a figure was measured on, and where it is written."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def hardware() -> str:
    """The GPU if torch sees one, else the processor, its widest vectors (one name stands for several), and how many cores there are."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    described = {name.strip(): value.strip() for name, _, value in lines}
    flags = described.get("flags", "").split()
    vectors = next((f" with {name}" for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    return f"{described.get('model name', platform.processor())}{vectors}, {os.cpu_count()} cores, torch {torch.__version__}"


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def write_result(name: str, result: Any) -> None:
    """benchmarks/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
