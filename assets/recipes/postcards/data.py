"""Data sets on disk, outside the source tree.

    python3 data.py render DIR START COUNT     pictures START.. as DIR/pictures-START.npy, uint8 [n,256,256,3]
    python3 data.py encode DIR START COUNT     latents START.. as DIR/latents-START.npy, f16 [n,16,16,16] (channels first)
                    [--vae DIR/vae.pt]         drawn and encoded in one go; pictures are not kept
    python3 data.py halves DIR START COUNT     pictures at half size as DIR/halves-START.npy, uint8 [n,128,128,3], for checker.py
    python3 data.py decoded DIR START COUNT    the same from stored latents through the decoder, as DIR/decoded-START.npy

A picture's index is its scene (world.scene_at), so captions and attributes need no file.  Files appear under their final
name only when complete, so a trainer may look for new ones while this runs.
"""
import argparse
import glob
import os
import re

import numpy as np

from common import wait_while
from render import render
from world import SIZE, scene_at


def name(folder, kind, start):
    return os.path.join(folder, '%s-%08d.npy' % (kind, start))


def shards(folder, kind):
    """[(start, memory-mapped array)] of the complete files, by start."""
    files = sorted(f for f in glob.glob(os.path.join(folder, kind + '-*.npy')) if not f.endswith('.part.npy'))
    return [(int(re.search(r'-(\d+)\.npy', f).group(1)), np.load(f, mmap_mode='r')) for f in files]


def write(folder, kind, start, make, count, shape, dtype, pause):
    path = name(folder, kind, start)
    if os.path.exists(path):
        return
    part = path[:-4] + '.part.npy'
    out = np.lib.format.open_memmap(part, 'w+', dtype, (count,) + shape)
    for i in range(0, count, 16):
        wait_while(pause)
        n = min(16, count - i)
        out[i:i + n] = make(start + i, n)
    out.flush()
    os.replace(part, path)


def pictures(start, n):
    return np.stack([render(scene_at(i)) for i in range(start, start + n)])


def halves(start, n):
    p = pictures(start, n).reshape(n, SIZE // 2, 2, SIZE // 2, 2, 3)
    return (p.mean((2, 4)) + .5).astype(np.uint8)


def decoder(folder, path):
    """A maker of decoded half-size pictures from stored latents; one thread."""
    import torch
    from models import AutoencoderTiny
    torch.set_num_threads(1)
    vae = AutoencoderTiny().eval()
    vae.load_state_dict(torch.load(path, weights_only=True)['model'])
    net = vae.decoder.to(memory_format=torch.channels_last)
    stored = {s + i: a[i:i + 16] for s, a in shards(folder, 'latents') for i in range(0, len(a), 16)}

    def make(start, n):
        z = torch.from_numpy(np.array(stored[start][:n])).float().contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16):
            y = torch.nn.functional.avg_pool2d(net(z).float().clamp(-1, 1), 2)
        return y.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return make


def fold(net):
    """The encoder without the blocks that add nothing (as the closed-form start leaves them): ten times faster, same numbers."""
    import torch.nn as nn
    from models import TinyBlock
    for i, m in enumerate(net.layers):
        if isinstance(m, TinyBlock) and not m.conv[-1].weight.any() and not m.conv[-1].bias.any():
            net.layers[i] = nn.ReLU()
    return net


def encode_with(path):
    """uint8 pictures [n,256,256,3] -> f16 latents [n,16,16,16], by the autoencoder state at `path`; one thread."""
    import torch
    from models import AutoencoderTiny, VAE
    torch.set_num_threads(1)
    vae = AutoencoderTiny(VAE).eval()
    vae.load_state_dict(torch.load(path, weights_only=True)['model'])
    net = fold(vae.encoder).to(memory_format=torch.channels_last)

    def encode(x):
        x = torch.from_numpy(x).permute(0, 3, 1, 2)
        x = x.float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return net(x).contiguous().numpy().astype(np.float16)
    return encode


def encoder(folder, path):
    """A maker of latents; takes stored pictures where there are some."""
    encode = encode_with(path)
    stored = {s + i: a[i:i + 16] for s, a in shards(folder, 'pictures') for i in range(0, len(a), 16)}

    def make(start, n):
        known = stored.get(start)
        return encode(np.array(known) if known is not None and len(known) == n else pictures(start, n))
    return make


def main():
    a = argparse.ArgumentParser()
    a.add_argument('what', choices=['render', 'encode', 'halves', 'decoded'])
    a.add_argument('folder')
    a.add_argument('start', type=int)
    a.add_argument('count', type=int)
    a.add_argument('--shard', type=int, default=1000)
    a.add_argument('--vae')
    a.add_argument('--pause-file')
    o = a.parse_args()
    os.makedirs(o.folder, exist_ok=True)
    vae = o.vae or os.path.join(o.folder, 'vae.pt')
    if o.what == 'encode':
        kind, make, shape, dtype = 'latents', encoder(o.folder, vae), (16, 16, 16), np.float16
    elif o.what in ('halves', 'decoded'):
        kind, shape, dtype = o.what, (SIZE // 2, SIZE // 2, 3), np.uint8
        make = halves if o.what == 'halves' else decoder(o.folder, vae)
    else:
        kind, make, shape, dtype = 'pictures', pictures, (SIZE, SIZE, 3), np.uint8
    for start in range(o.start, o.start + o.count, o.shard):
        n = min(o.shard, o.start + o.count - start)
        write(o.folder, kind, start, make, n, shape, dtype, o.pause_file)


if __name__ == '__main__':
    main()
