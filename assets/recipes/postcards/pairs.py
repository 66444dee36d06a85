"""Pairs for the restyling bridge: every scene also as two variants of it, and the instruction that leads from one to another.

    python3 pairs.py STATE_OF_LATENTS OUT START COUNT     variants of scenes START.. as OUT/variants-START.npy, f16 [n,2,16,16,16]

The first variant changes one attribute of the scene (style, time, weather or season), the second another value of the same
attribute or a second attribute, so that the three pictures give six directed pairs that differ in one or two attributes.
What varies is a pure function of the scene's index; the geometry does not depend on it.
"""
import argparse
import os
import random

import numpy as np

import captions as c
import world
from data import encode_with, write
from render import render

VALUES = dict(style=world.STYLES, time=world.TIMES, weather=world.WEATHERS, season=world.SEASONS)
ODDS = dict(style=40, time=25, weather=18, season=17)
STYLE_ASKED = {
    'poster': 'as a poster|as a flat poster|as a travel poster|in gouache|poster style', 'watercolor': 'as a watercolor|in watercolor|as a watercolor painting|as an aquarelle',
    'papercut': 'as a paper cut|as a papercut|made of cut paper|as layered paper', 'ink': 'as an ink drawing|in ink|as a pen and ink drawing|as a sketch',
    'neon': 'in neon|in neon style|with neon lights|as synthwave', 'pixel': 'as pixel art|as 8-bit pixel art|in pixel style|as pixels'}
BEFORE = ['make it', 'turn it into', 'change it to', 'the same', 'the same picture', 'the same place', 'this', 'show it', 'please', 'now']


def changed(q, key, value):
    """The scene with one attribute changed, or None if the world has no such scene or it would look the same."""
    if q[key] == value or (key == 'season' and q['ground'] in ('desert', 'snow')):
        return None
    new = world.mend(dict(q, **{key: value}))
    free = ('weather',) if (key, value) == ('season', 'winter') else ('season',) if (key, value) == ('weather', 'snowfall') else ()
    if new[key] != value or any(new[k] != q[k] for k in VALUES if k not in (key, *free)):
        return None
    return new


def draw(r, q, keys):
    """A random change of q in one of `keys`."""
    while True:
        key = r.choices(keys, [ODDS[k] for k in keys])[0]
        new = changed(q, key, r.choice(VALUES[key]))
        if new:
            return key, new


def variants(index):
    """The scene of an index and its two variants."""
    q, r = world.scene_at(index), random.Random('bridge/%d' % index)
    key, first = draw(r, q, list(VALUES))
    if r.random() < .5:
        while True:
            second = changed(q, key, r.choice(VALUES[key])) or draw(r, q, ['style', 'time'])[1]
            if any(second[k] != first[k] for k in VALUES):
                break
    else:
        second = draw(r, first, [k for k in VALUES if k != key])[1]
    return q, first, second


def difference(source, target):
    return [k for k in VALUES if source[k] != target[k]]


def asked(r, q, key):
    """One attribute of the wanted picture, as somebody asks for it."""
    value, u = q[key], r.random()
    if key == 'style':
        if u < .55:
            return r.choice(STYLE_ASKED[value].split('|'))
        return c.word(r, c.STYLE_WORDS, c.STYLE_NEAR, value)
    words, near = {'time': (c.TIME_WORDS, c.TIME_NEAR), 'weather': (c.WEATHER_WORDS, c.WEATHER_NEAR), 'season': (c.SEASON_WORDS, None)}[key]
    if u < .12:
        return {'day': 'daylight', 'cloudy': 'clouds', 'snowfall': 'snowing'}.get(value, value)
    return c.word(r, words, near, value)


def instruction(r, source, target):
    """Words that lead from one scene to the other; `source` is `target` for a picture that should stay as it is."""
    keys = difference(source, target) or [r.choice(list(VALUES))]
    if 'season' in keys and 'weather' in keys and r.random() < .7:      # one of them followed from the other
        keys.remove('weather' if target['weather'] == 'snowfall' and source['weather'] == 'rain' else 'season')
    if r.random() < .2:
        for _ in range(8):
            text, said = c.caption(target, r)
            if all(said[k] for k in keys):
                return text
    r.shuffle(keys)
    parts = [asked(r, target, k) for k in keys]
    text = (', ' if r.random() < .35 else ' ').join(parts)
    if r.random() < .25:
        text = r.choice(BEFORE) + ' ' + text
    return text[0].upper() + text[1:] + '.' if r.random() < .08 else text


def main():
    a = argparse.ArgumentParser()
    a.add_argument('state', help='holds vae.pt')
    a.add_argument('out')
    a.add_argument('start', type=int)
    a.add_argument('count', type=int)
    a.add_argument('--shard', type=int, default=1000)
    a.add_argument('--pause-file')
    o = a.parse_args()
    os.makedirs(o.out, exist_ok=True)
    encode = encode_with(os.path.join(o.state, 'vae.pt'))

    def make(start, n):
        pictures = np.stack([render(q) for i in range(start, start + n) for q in variants(i)[1:]])
        return encode(pictures).reshape(n, 2, 16, 16, 16)
    for start in range(o.start, o.start + o.count, o.shard):
        n = min(o.shard, o.start + o.count - start)
        write(o.out, 'variants', start, make, n, (2, 16, 16, 16), np.float16, o.pause_file)


if __name__ == '__main__':
    main()
