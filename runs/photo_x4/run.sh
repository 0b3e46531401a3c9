#!/bin/sh
# Trains src/atdsr/weights/atd-light-photo-x4.safetensors from the bundled atd-light-x4.
#
#   runs/photo_x4/run.sh PICTURES
#
# PICTURES  folder of training pictures: 420 photographs, 347 megapixels (docs/models/atd-light-x2.md)
#
# Hardware: two cores of an AMD EPYC (AVX-512), no GPU, shared with other work
# Time:     1.4 hours (`seconds` in the logs beside this file)
# Result:   docs/models/atd-light-photo.md
set -eu
cd "$(dirname "$0")/../.."
python runs/split.py "$1" work/light_x2/split
# both scales in one set; its LR pictures are not used
test -d work/photo/set ||
    atdsr data pack work/light_x2/split/train --scale 2 --scale 4 --output work/photo/set
# what weights are chosen by: the middles of the pictures kept out, degraded once
test -d work/photo_x4/validate ||
    atdsr data degrade work/light_x2/split/validate --scale 4 --degradation web --output work/photo_x4/validate
runs/train.sh photo_x4 1-web 2-web2
