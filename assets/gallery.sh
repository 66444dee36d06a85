#!/bin/sh
# Makes the picture of the README: eight postcards, one command each, laid side by side by
# ImageMagick's montage.
#     gallery.sh [PROGRAM] [OUT.jpg]
set -eu
gen=${1:-gen}
out=${2:-gallery.jpg}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

$gen "a red house beside a blue lake at sunset" --seed 1 -o "$folder/1.png"
$gen "a purple lighthouse in the desert at dawn" --seed 16 -o "$folder/2.png"
$gen "a yellow balloon over a meadow by day, watercolor" --seed 3 -o "$folder/3.png"
$gen "a black cat in the snow, ink drawing" --seed 12 -o "$folder/4.png"
$gen "a red boat by the sea by day" --seed 5 -o "$folder/5.png"
$gen "a blue castle in the city by day" --seed 4 -o "$folder/6.png"
$gen "an orange tent in the desert at sunset, paper cut" --seed 12 -o "$folder/7.png"
$gen "a brown windmill in a meadow by day" --seed 3 -o "$folder/8.png"
montage "$folder"/[1-8].png -tile 4x2 -geometry 256x256+2+2 -quality 88 "$out"
