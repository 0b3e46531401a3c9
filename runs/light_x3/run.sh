#!/bin/sh
# Trains src/atdsr/weights/atd-light-x3.safetensors from the bundled atd-light-x2.
# (The weights bundled now began with atd-light-x2 as it was before its own run on large crops.)
#
#   runs/light_x3/run.sh PICTURES
#
# PICTURES  folder of training pictures: 420 photographs, 347 megapixels (docs/models/atd-light-x2.md)
#
# Hardware: two cores of an Intel Xeon at 2.5 GHz (AVX-512), no GPU, shared with other work
# Time:     0.7 and 0.2 hours (`seconds` in the log beside this file)
# Result:   docs/models/atd-light-x3.md
set -eu
cd "$(dirname "$0")/../.."
python runs/split.py "$1" work/light_x2/split
test -d work/light_x3/set ||
    atdsr data pack work/light_x2/split/train --scale 3 --scale 4 --output work/light_x3/set
runs/train.sh 3 1-light 2-large
