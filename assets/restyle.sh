#!/bin/sh
# Makes the sheet of restyled postcards: two that were drawn by the recipe's renderer and one made
# by gen, each followed by six instructions, laid side by side by ImageMagick's montage.
#     restyle.sh [PROGRAM] [OUT.jpg]
set -eu
gen=${1:-gen}
out=${2:-restyled.jpg}
here=$(dirname "$0")/postcards-bridge
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

$gen -q "a lighthouse by the sea at dawn" --seed 4 -o "$folder/sea.png" >"$folder/log"
set --
for source in "$here/house.jpg" "$here/castle.jpg" "$folder/sea.png"; do
    set -- "$@" "$source"
    for words in "at night" "at sunset" "in winter" "as an ink drawing" "in neon" "as a watercolor"; do
        file="$folder/$(basename "$source") $words.png"
        $gen edit -q -i "$source" "$words" --seed 1 -o "$file" >"$folder/log"
        set -- "$@" "$file"
    done
done
montage "$@" -tile 7x -geometry 144x144+2+2 -strip -quality 68 "$out"
