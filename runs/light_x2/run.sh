#!/bin/sh
# Trains src/atdsr/weights/atd-light-x2.safetensors.
#
#   runs/light_x2/run.sh PICTURES START
#
# PICTURES  folder of training pictures: 420 photographs, 347 megapixels (docs/models/atd-light-x2.md)
# START     an official-format .pth to start from: ATD-light x2 after 50 minutes from scratch on 2 cores
#
# Hardware: two cores of an Intel Xeon at 2.5 GHz (AVX-512), no GPU, shared with other work
# Time:     1.7 hours of steps (the sum of `seconds` in log.jsonl)
# Result:   PSNR-Y on Set5 36.79 dB, Set14 32.50 dB, B100 31.33 dB (`atdsr eval`)
set -eu
cd "$(dirname "$0")/../.."
mkdir -p work/light_x2
cp "$2" work/light_x2/start.pth
test -d work/light_x2/set || atdsr data pack "$1" --scale 2 --output work/light_x2/set
# both recipes write to one folder, so that the second goes on where the first ended
atdsr train runs/light_x2/1-warm.yaml
atdsr train runs/light_x2/2-main.yaml
atdsr convert work/light_x2/run/weights.safetensors src/atdsr/weights/atd-light-x2.safetensors --overwrite
