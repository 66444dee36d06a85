#!/bin/sh
# Makes the pictures of the README's table: four classes by each of the two models that know classes.
#     classes.sh [PROGRAM] [ASSETS]
set -eu
gen=${1:-gen}
assets=${2:-assets}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for model in postcards-dit postcards-rwkv; do
    $gen -m $model -p "house by the sea" --seed 2 -o "$folder/1.png" -y
    $gen -m $model -p "boat by the sea" --seed 26 -o "$folder/2.png" -y
    $gen -m $model -p "hot-air balloon in snow" --seed 31 -o "$folder/3.png" -y
    $gen -m $model -p "mountain in the desert" --seed 65 -o "$folder/4.png" -y
    montage "$folder"/[1-4].png -tile 4x1 -geometry 128x128+1+1 -quality 88 "$assets/$model/pictures.jpg"
done
