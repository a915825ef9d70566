#!/bin/sh
# Trains all networks of the package, one after the other:
#
#   tools/train_all.sh PHOTOS PAINTINGS NAMED OUT [OPTION ...]
#
# PHOTOS, PAINTINGS: folders to train on. NAMED: a folder of the paintings that get a network each.
# OUT: where the weights go. Further options go to every `impasto train`. For a graphics card:
#
#   tools/train_all.sh photos paintings named out --accelerator cuda --batch-size 8 --crop 256 \
#     --resize-min 256 --resize-max 512 --style-resize-min 288 --style-resize-max 640 --workers 8
#
# When it is called again, it goes on where it stopped. Ctrl-C ends it.
set -eu
photos=$1 paintings=$2 named=$3 out=$4
shift 4
mkdir -p "$out"

# train METHOD NAME STYLE OPTION ...
train() {
  method=$1 name=$2 style=$3
  shift 3
  file=$out/$name.safetensors
  if [ -e "$out/$name.done" ]; then return; fi
  if [ -e "$out/$name-training/checkpoint.pt" ]; then set -- "$@" --resume; fi
  echo "== $name"
  impasto train "$method" --content "$photos" --style "$style" --out "$file" "$@"
  touch "$out/$name.done"
}

train adain adain.base "$paintings" --recipe adain-base "$@"
train adain adain.small "$paintings" --recipe adain-small "$@"
train fast fast.base "$named" --recipe fast-scratch "$@"
for painting in "$named"/*.*; do
  name=$(basename "$painting")
  train fast "fast.${name%.*}" "$painting" --recipe fast --init-from "$out/fast.base.safetensors" "$@"
done
train styletr styletr.base "$paintings" --recipe styletr-vit --path "$out/adain.small.safetensors" "$@"
