#!/bin/sh
# Runs every command of the ```sh blocks of the README, in an empty folder.
#     readme.sh README.md PROGRAM-FOLDER
set -eu
readme=$1
PATH=$2:$PATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
sed -n '/^```sh$/,/^```$/{/^```/d;p}' "$readme" >"$folder/commands"
cd "$folder"
count=0
while IFS= read -r command; do
    count=$((count + 1))
    echo "\$ $command"
    sh -c "$command" </dev/null || { echo "failed: $command"; exit 1; }
done <commands
[ "$count" -gt 0 ] || { echo "$readme has no commands"; exit 1; }
[ -s dusk.png ] && [ -s cats/7.png ] && [ -s cats/8.png ] || { echo "pictures are missing"; exit 1; }
echo "$count commands ran"
