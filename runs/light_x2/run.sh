#!/bin/sh
# Trains src/atdsr/weights/atd-light-x2.safetensors.
#
#   runs/light_x2/run.sh PICTURES START
#
# PICTURES  folder of training pictures: 420 photographs, 347 megapixels (docs/models/atd-light-x2.md)
# START     an official-format .pth to start from: ATD-light x2 after 50 minutes from scratch on 2 cores
#
# To go on from where this ended, also on another machine, neither START nor the runs before
# are needed: state.pth has the weights and their average, and 5-gpu.yaml begins with it.
#
# Hardware: two cores of an Intel Xeon at 2.5 GHz (AVX-512), no GPU, shared with other work
# Time:     1.7 hours for the first two, 1.3 and 0.5 for the others (`seconds` in the logs beside this file)
# Result:   docs/models/atd-light-x2.md
set -eu
cd "$(dirname "$0")/../.."
mkdir -p work/light_x2
cp "$2" work/light_x2/start.pth
test -d work/light_x2/set || atdsr data pack "$1" --scale 2 --output work/light_x2/set
# both recipes write to one folder, so that the second goes on where the first ended
atdsr train runs/light_x2/1-warm.yaml
atdsr train runs/light_x2/2-main.yaml
# new crops, with pictures kept out
python runs/light_x2/split.py "$1" work/light_x2/split
runs/train.sh 2 3-detail 4-large
