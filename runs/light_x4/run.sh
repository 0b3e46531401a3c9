#!/bin/sh
# Trains src/atdsr/weights/atd-light-x4.safetensors from the bundled atd-light-x3.
# (The weights bundled now began with atd-light-x3 as it was before its own run on large crops.)
#
#   runs/light_x4/run.sh PICTURES
#
# PICTURES  folder of training pictures: 420 photographs, 347 megapixels (docs/models/atd-light-x2.md)
#
# Hardware: two cores of an Intel Xeon at 2.5 GHz (AVX-512), no GPU, shared with other work
# Time:     0.8 and 0.2 hours (`seconds` in the log beside this file)
# Result:   docs/models/atd-light-x4.md
set -eu
cd "$(dirname "$0")/../.."
python runs/split.py "$1" work/light_x2/split
test -d work/light_x3/set ||
    atdsr data pack work/light_x2/split/train --scale 3 --scale 4 --output work/light_x3/set
runs/train.sh 4 1-light 2-large
