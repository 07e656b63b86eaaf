"""What a figure was measured on, and where it is written."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def is_on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def hardware() -> str:
    """The GPU if torch sees one, else the processor, its widest vectors (one name stands for several), and how many cores there are."""
    import torch

    if is_on_gpu():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    described = {name.strip(): value.strip() for name, _, value in lines}
    flags = described.get("flags", "").split()
    vectors = next((f" with {name}" for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    return f"{described.get('model name', platform.processor())}{vectors}, {os.cpu_count()} cores, torch {torch.__version__}"


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def result_file(name: str) -> Path:
    """benchmarks/results/<name>.json, or <name>_cuda.json where torch sees a GPU: neither's figures take the place of the other's."""
    return RESULTS / f"{name}{'_cuda' if is_on_gpu() else ''}.json"


def read_result(name: str) -> dict[str, Any]:
    """What was written on such hardware before, or nothing."""
    path = result_file(name)
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def write_result(name: str, result: Any) -> None:
    RESULTS.mkdir(exist_ok=True)
    result_file(name).write_text(json.dumps(result, indent=2) + "\n")
