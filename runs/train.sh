#!/bin/sh
# Trains the recipes of one scale one after the other, a process for each of two cores, which is faster
# than threads; then bundles the weights of the last one and keeps its state. A recipe `2-large` writes to
# work/light_xSCALE/large.
#
#   runs/train.sh SCALE RECIPE...
#
# Called by the run.sh of each scale.
set -eu
cd "$(dirname "$0")/.."
run=light_x$1
shift
for recipe; do
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
        torchrun --nproc-per-node 2 -m atdsr train "runs/$run/$recipe.yaml"
done
last=work/$run/${recipe#*-}
atdsr convert "$last/weights.safetensors" "src/atdsr/weights/atd-light-${run#light_}.safetensors" --overwrite
cp "$last/models/net_g_latest.pth" "runs/$run/state.pth"
