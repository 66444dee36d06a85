"""How near a bridge comes to what the renderer would have drawn: held-out scenes with one attribute changed.

    python3 judge_bridge.py LATENTS STATE MODEL_DIR [--steps 12] [--guidance 1.5] [--count 48]

For each attribute, and for each style, the decoded result against the render of the changed scene (both through the autoencoder):
signal to noise in dB, beside that of the source left as it is.
"""
import argparse
import collections
import os
import random

import numpy as np
import torch
from safetensors.torch import load_file

import pairs
import world
from data import shards
from models import AutoencoderTiny, CLIPTextModel, TEXT, UNet2DConditionModel
from tokenizer import Tokenizer
from train_bridge import BRIDGE, NOISE, SHIFT


def times(n, num=1000):
    """Whole times from 999 down, then -1, as the program's schedule has them."""
    u = [1 - (1 / num if i == 0 else 1 + (n - i) * (1 / num - 1) / n) for i in range(n)]
    return [int(SHIFT * v / (1 + (SHIFT - 1) * v) * num) for v in u] + [-1]


@torch.no_grad()
def restyle(unet, source, context, empty, n, guidance, g):
    x, t = source.clone(), times(n)
    for a, b in zip(t, t[1:]):
        tau, step = (a + 1) / 1000, (b - a) / 1000
        both = torch.cat([torch.cat([x, source], 1)] * 2)
        u = unet(both, torch.full((len(both),), float(a)), torch.cat([context, empty.expand_as(context)]))
        with_text, without = u.chunk(2)
        x = x + step * (without + guidance * (with_text - without))
        x = x + (-step * (tau + step) / tau) ** .5 * NOISE * torch.randn(x.shape, generator=g)
    return x


def main():
    a = argparse.ArgumentParser()
    a.add_argument('latents')
    a.add_argument('state')
    a.add_argument('model')
    a.add_argument('--name', default='bridge')
    a.add_argument('--steps', type=int, default=12)
    a.add_argument('--guidance', type=float, default=1.5)
    a.add_argument('--count', type=int, default=48)
    o = a.parse_args()
    torch.set_num_threads(1)

    def shipped(name):
        return {k: v.float() for k, v in load_file(os.path.join(o.model, name + '.safetensors')).items()}
    tokenizer, vae, unet = Tokenizer(os.path.join(o.model, 'tokenizer')), AutoencoderTiny(), UNet2DConditionModel(BRIDGE)
    vae.load_state_dict(shipped('vae/diffusion_pytorch_model'))
    text = CLIPTextModel(dict(TEXT, vocab_size=len(tokenizer.ids)))
    text.load_state_dict(shipped('text_encoder/model'))
    unet.load_state_dict(torch.load(os.path.join(o.state, o.name + '.pt'), weights_only=True)['model'])
    sources = dict(shards(o.latents, 'latents'))
    start, variants = next((s, v) for s, v in shards(o.state, 'variants') if s >= world.HELD_OUT)
    r, g = random.Random(7), torch.Generator().manual_seed(7)
    scores = collections.defaultdict(list)
    with torch.no_grad():
        empty = text(torch.tensor([tokenizer('')]))
    for i in range(o.count):
        scenes = pairs.variants(start + i)
        three = torch.from_numpy(np.concatenate([sources[start][i:i + 1], variants[i]])).float()
        rows = [(p, q) for p in range(3) for q in range(3) if len(pairs.difference(scenes[p], scenes[q])) == 1]
        with torch.no_grad():
            words = [pairs.instruction(r, scenes[p], scenes[q]) for p, q in rows]
            context = text(torch.tensor([tokenizer(w) for w in words]))
            p, q = (torch.tensor([row[k] for row in rows]) for k in (0, 1))
            made = restyle(unet, three[p], context, empty, o.steps, o.guidance, g)
            seen, made = vae.decoder(three), vae.decoder(made)
        for k, (a, b) in enumerate(rows):
            key = pairs.difference(scenes[a], scenes[b])[0]
            error = [(x.clamp(-1, 1) - seen[b].clamp(-1, 1)).square().mean().item() / 4 for x in (made[k], seen[a])]
            scores[key].append(error)
            scores['all'].append(error)
            if key == 'style':
                scores['to ' + scenes[b]['style']].append(error)
    print('%-14s %5s %9s %9s   dB' % ('changed', 'pairs', 'result', 'source'))
    for key, errors in scores.items():
        result, source = (-10 * np.log10(np.mean([e[k] for e in errors])) for k in (0, 1))
        print('%-14s %5d %9.1f %9.1f' % (key, len(errors), result, source))


if __name__ == '__main__':
    main()
