#!/bin/sh
# Packs what a larger network makes of a square of each picture, a process for each of two cores.
#
#   runs/taught_set.sh PICTURES TEACHER SCALE SIDE TILES SET
#
# PICTURES, TEACHER, SIDE, TILES  as for runs/teacher.py
# SCALE                           of the teacher
# SET                             the packed set; nothing is done where it exists
#
# Called by the run.sh of each scale.
set -eu
cd "$(dirname "$0")/.."
test -d "$6" && exit
python runs/teacher.py cut "$1" "$5" "$4"
python runs/teacher.py teach "$5" "$2" 0 2 &
first=$!
python runs/teacher.py teach "$5" "$2" 1 2
wait $first
atdsr data pack "$5/x$3/target" --lr "$5/x$3/lr" --scale "$3" --output "$6"
