"""The six styles: passes over the drawn picture, uint8 [256,256,3] -> the same.

All noise comes from one texture bank made at import with a fixed seed; a picture cuts its piece from it by its own seed.
Grain is faint on purpose: what cannot be compressed would only cost the autoencoder its attention.
"""
import random

import numpy as np

from world import SIZE

_bank_stream = np.random.RandomState(7)
_INDEX = np.arange(SIZE)
_EDGE = np.minimum(np.minimum(_INDEX[:, None], SIZE - 1 - _INDEX[:, None]),
                   np.minimum(_INDEX[None], SIZE - 1 - _INDEX[None])).astype(np.float32)


def smooth_noise(cell, octaves, n=512):
    """Periodic value noise [n,n], mean 0, deviation 1, with features of about `cell` pixels."""
    out = np.zeros((n, n), np.float32)
    for o in range(octaves):
        k = max(2, min(n, int(n / cell * 2 ** o)))
        grid = _bank_stream.rand(k, k).astype(np.float32)
        pos = np.arange(n) / n * k
        i0, f = pos.astype(int), (pos % 1).astype(np.float32)
        i1, f = (i0 + 1) % k, f * f * (3 - 2 * f)
        rows = grid[i0] * (1 - f[:, None]) + grid[i1] * f[:, None]
        out += .55 ** o * (rows[:, i0] * (1 - f) + rows[:, i1] * f)
    return (out - out.mean()) / out.std()


BROAD = [smooth_noise(96, 4) for _ in range(3)]
FINE = [smooth_noise(12, 3) for _ in range(2)]


def piece(noise, r):
    y, x = r.randrange(SIZE), r.randrange(SIZE)
    return noise[y:y + SIZE, x:x + SIZE]


def edges(f):
    """Largest channel difference across each pixel, [256,256]."""
    e = np.zeros((SIZE, SIZE), np.float32)
    d = np.maximum(np.abs(f[1:-1, 2:] - f[1:-1, :-2]), np.abs(f[2:, 1:-1] - f[:-2, 1:-1]))
    e[1:-1, 1:-1] = np.maximum(np.maximum(d[..., 0], d[..., 1]), d[..., 2])
    return e


def blur(f, n):
    """Mean over an n x n box (n odd), edges repeated."""
    h = n // 2
    for axis in (0, 1):
        pad = [(0, 0)] * f.ndim
        pad[axis] = (h + 1, h)
        s = np.cumsum(np.pad(f, pad, mode='edge'), axis=axis, dtype=np.float32)
        f = ((s[n:] - s[:-n]) if axis == 0 else (s[:, n:] - s[:, :-n])) * np.float32(1 / n)
    return f


def as_bytes(f):
    return (f * 255).clip(0, 255).astype(np.uint8)


def warp(a, dx, dy):
    x = np.rint(_INDEX[None] + dx).clip(0, SIZE - 1).astype(np.int32)
    y = np.rint(_INDEX[:, None] + dy).clip(0, SIZE - 1).astype(np.int32)
    return a[y, x].astype(np.float32) / 255


def poster(a, r):
    return (a + (piece(FINE[1], r) * 1.2)[..., None]).clip(0, 255).astype(np.uint8)


def papercut(a, r):
    return (a + (piece(FINE[0], r) * 1.8)[..., None]).clip(0, 255).astype(np.uint8)


def pixel(a, r):
    f = a.reshape(64, 4, 64, 4, 3).mean((1, 3), dtype=np.float32)
    grey = f.mean(2, keepdims=True)
    f = grey + (f - grey) * 1.18
    step = 255 / 12
    f = (np.rint(f / step) * step).clip(0, 255).astype(np.uint8)
    return f.repeat(4, 0).repeat(4, 1)


def watercolor(a, r):
    n1, n2 = piece(BROAD[0], r), piece(BROAD[1], r)
    grain = piece(FINE[0], r)
    f = warp(a, n1 * 1.6 + grain * .5, n2 * 1.6 + grain * .5)
    grey = f.mean(2)
    e = np.zeros_like(grey)
    e[1:-1, 1:-1] = np.abs(grey[1:-1, 2:] - grey[1:-1, :-2]) + np.abs(grey[2:, 1:-1] - grey[:-2, 1:-1])
    f = 1 - (1 - f) * (.82 * (1 + .10 * piece(BROAD[2], r) + .03 * grain))[..., None]
    f *= (1 - .40 * e.clip(0, .6))[..., None]
    paper = np.array([.985, .975, .94], np.float32) * (1 + .010 * piece(FINE[1], r))[..., None]
    inside = ((_EDGE + n1 * 1.6 + n2 * 1.4 - 9) / 5).clip(0, 1)[..., None]
    return as_bytes(paper * (1 - inside) + paper * f * inside)


def ink(a, r):
    n1, n2 = piece(BROAD[0], r), piece(BROAD[1], r)
    f = warp(a, n1 * .8, n2 * .8)
    grey = f @ np.array([.3, .59, .11], np.float32)
    line = ((blur(edges(f), 3) - .060) * 7).clip(0, 1)
    hatch = ((_INDEX[None] + _INDEX[:, None] + n1 * 1.5) % 9 < 2.2) * ((.36 - grey) * 4).clip(0, .55)
    k = np.maximum(line, hatch)[..., None]
    paper = np.array([.97, .945, .885], np.float32) * (1 + .008 * piece(FINE[1], r))[..., None]
    mean = f.mean(2, keepdims=True)
    wash = paper * (.40 + .60 * (mean + (f - mean) * 1.45).clip(0, 1))
    return as_bytes(wash * (1 - k) + np.array([.10, .09, .14], np.float32) * k)


def neon(a, r):
    f = a.astype(np.float32) / 255
    top, low = f.max(2, keepdims=True), f.min(2, keepdims=True)
    hue = ((f - low * .80) / (top - low * .80 + .02)).clip(0, 1)
    tube = hue * ((blur(edges(f), 3) - .05) * 5).clip(0, 1)[..., None]
    glow = blur(blur(tube, 7), 9)
    back = np.array([.045, .03, .11], np.float32) + f * np.array([.17, .13, .26], np.float32) + (f - low) * .30
    return as_bytes(back + tube * .95 + glow * .9)


APPLY = dict(poster=poster, papercut=papercut, pixel=pixel, watercolor=watercolor, ink=ink, neon=neon)


def apply(style, pixels, seed):
    return APPLY[style](pixels, random.Random('%d/style' % seed))
