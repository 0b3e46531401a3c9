#!/bin/sh
# Trains the recipes of one run one after the other, a process for each of two cores, which is faster
# than threads; then bundles the weights of the last one and keeps its state. A recipe `2-large` of
# `light_x2` writes to work/light_x2/large, and its weights become atd-light-x2; those of `photo_x2`
# become atd-light-photo-x2.
#
#   runs/train.sh RUN RECIPE...
#
# RUN  a folder here, such as photo_x2; a scale alone means light_xSCALE
#
# Called by the run.sh of each run.
set -eu
cd "$(dirname "$0")/.."
case $1 in
[234]) run=light_x$1 ;;
*) run=$1 ;;
esac
shift
for recipe; do
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
        torchrun --nproc-per-node 2 -m atdsr train "runs/$run/$recipe.yaml"
done
last=work/$run/${recipe#*-}
name=$(echo "${run#light_}" | tr _ -)
case $run in
photo_*) half=--half ;;
*) half= ;;
esac
atdsr convert "$last/weights.safetensors" "src/atdsr/weights/atd-light-$name.safetensors" --overwrite $half
cp "$last/models/net_g_latest.pth" "runs/$run/state.pth"
