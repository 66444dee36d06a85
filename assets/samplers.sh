#!/bin/sh
# Makes a contact sheet of the solvers: one a row, with 2, 4, 8 and 20 steps, from one seed, for
# choosing and for seeing that none is broken.  Laid out by ImageMagick's montage, labelled in the
# font that fontconfig finds.
#     samplers.sh [PROGRAM] [OUT.jpg] [PROMPT] [MODEL]
set -eu
gen=${1:-gen}
out=${2:-samplers.jpg}
prompt=${3:-a red house beside a blue lake at sunset}
model=${4:-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

set --
for sampler in euler ddim heun lms pndm dpmpp_2m dpmpp_3m unipc euler_a ddpm dpmpp_2m_sde \
    dpmpp_3m_sde lcm tcd; do
    for steps in 2 4 8 20; do
        file=$folder/$sampler-$steps.png
        $gen -q ${model:+-m "$model"} -p "$prompt" --seed 3 --sampler $sampler --steps $steps \
            -o "$file" >"$folder/log"
        set -- "$@" -label "$sampler, $steps steps" "$file"
    done
done
montage -font "$(fc-match -f '%{file}' sans)" "$@" -tile 8x -geometry 192x192+3+3 -pointsize 13 -quality 88 "$out"
