#!/usr/bin/env bash
# Everything that needs a GPU, in one go: the GPU tests, then the step's cost at the demo's size and at the paper's.
#   bash benchmarks/gpu.sh [PYTHON] | tee gpu.log        about 10 minutes; the figures belong into RESULTS.md
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
date -u +%Y-%m-%d
"$python" -m udonx.cli doctor
"$python" -m pytest -q -rs tests/udonx/engine/test_gpu.py tests/udonx/engine/test_optim.py tests/udonx/engine/test_objective.py
"$python" benchmarks/step_overhead.py --device cuda --block 100
for precision in fp32 bf16; do
    for heads in drift skip; do
        "$python" benchmarks/step_overhead.py --device cuda --model vit_base_patch16_224 --crop 224 --batch 128 \
            --precision "$precision" --inactive-heads "$heads" --rounds 5 --block 30
    done
done
