"""Trains the UNet on latents-*.npy of a state folder (flow matching); started again with the same folder it goes on.

    python3 train_unet.py STATE TOKENIZER_FOLDER [--start-from DIFFUSERS_DIR]

Path x = (1-s) x0 + s e, target e - x0, network time 1000 s, s uniform then shifted by 3: the caption decides at high noise.
Two helps, both gone from the shipped file: cells with objects weigh double, and a small head on the inner 8x8 features must
name what stands in each cell (subject, colour) and the whole scene (ground, time, weather, season, style).
The text encoder comes trained (train_text.py) and stays frozen.
"""
import argparse
import math
import os
import random
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import maps
import world
from captions import caption
from common import Average, Log, Muon, save_atomic, split_parameters, wait_while
from data import shards
from models import AutoencoderTiny, CLIPTextModel, TEXT, UNET, UNet2DConditionModel
from tokenizer import Tokenizer

SHIFT = 3.


class Scenes:
    """Latents in memory with their scene indices; refresh() takes up files that appeared since."""

    def __init__(self, folder, single=1.):
        self.folder, self.files, self.single = folder, {}, single
        self.refresh()

    def refresh(self):
        for start, a in shards(self.folder, 'latents'):
            if start not in self.files:
                self.files[start] = torch.from_numpy(np.array(a))
        train = {s: a for s, a in self.files.items() if s < world.HELD_OUT}
        self.latents = torch.cat(list(train.values()))
        self.index = np.concatenate([np.arange(s, s + len(a)) for s, a in train.items()])
        self.odds = np.array([self.weight(world.scene_at(int(i))) for i in self.index])
        self.odds = np.cumsum(self.odds) / self.odds.sum()

    def weight(self, q):
        """Scenes of one object come `single` times as often: subjects and colours are learned on them."""
        return self.single if len(q['objects']) == 1 else 1.

    def pick(self, r, n):
        return np.searchsorted(self.odds, r.random(n))

    def held_out(self, n):
        start = min(s for s in self.files if s >= world.HELD_OUT)
        return self.files[start][:n].float(), list(range(start, start + n))


class CellHead(nn.Module):
    """Names what stands where, from the inner features [N,144,8,8]."""

    def __init__(self, width):
        super().__init__()
        self.kinds, self.colors = len(world.SUBJECTS), len(world.COLORS) + 1
        self.cells = nn.Conv2d(width, self.kinds + self.colors, 1)
        self.scene = nn.ModuleList(nn.Linear(width, len(v)) for v in maps.WHOLE.values())

    def forward(self, h, presence, color, whole):
        y = self.cells(h)
        loss = 4 * F.binary_cross_entropy_with_logits(y[:, :self.kinds], presence)
        loss = loss + F.cross_entropy(y[:, self.kinds:], color, ignore_index=maps.NO_OBJECT)
        pooled = h.mean((2, 3))
        for i, head in enumerate(self.scene):
            loss = loss + .3 * F.cross_entropy(head(pooled), whole[:, i])
        return loss


def prepare(index, tokenizer, r, drop=.10):
    """Token ids, 8x8 and 16x16 grids and scene classes of a batch; the caption is made anew at each use."""
    ids, presence, color, weight, whole = [], [], [], [], []
    for i in index:
        q = world.scene_at(int(i))
        ids.append(tokenizer('' if r.random() < drop else caption(q, r)[0]))
        p, c = maps.grids(q, 8)
        presence.append(p)
        color.append(c)
        weight.append(maps.grids(q, 16)[0].any(0))
        whole.append(maps.whole(q))
    return (torch.tensor(ids), torch.from_numpy(np.stack(presence)).float(), torch.from_numpy(np.stack(color)),
            torch.from_numpy(np.stack(weight)).float(), torch.tensor(whole))


def channel_weights(decoder, latents):
    """Root of the picture error that unit noise in each latent channel makes, mean 1: what the eye sees of a channel."""
    with torch.no_grad():
        z = latents[:8].float()
        base, out = decoder(z), []
        for c in range(z.shape[1]):
            moved = z.clone()
            moved[:, c] += .5 * torch.randn_like(moved[:, c])
            out.append((decoder(moved) - base).square().mean().sqrt())
    w = torch.stack(out).sqrt()
    return w / w.mean()


def noisy(x0, s, e):
    s = s[:, None, None, None]
    return (1 - s) * x0 + s * e


def levels(n, r):
    """n noise levels, one from each n-th of the range, shifted."""
    u = (torch.arange(n) + torch.rand(n, generator=r)) / n
    return SHIFT * u / (1 + (SHIFT - 1) * u)


@torch.no_grad()
def judge(unet, text, held, tokenizer, weights):
    """Held-out loss in five bins of the noise level, with fixed noise."""
    x0, index = held
    r, g = random.Random(5), torch.Generator().manual_seed(5)
    ids = prepare(index, tokenizer, r, 0.)[0]
    out = []
    for low in (.0, .2, .4, .6, .8):
        total = 0.
        for part in range(0, len(x0), 64):
            x, e = x0[part:part + 64], torch.randn(x0[part:part + 64].shape, generator=g)
            s = low + .2 * torch.rand(len(x), generator=g)
            v = unet(noisy(x, s, e), 1000 * s, text(ids[part:part + 64]))
            total += ((v - (e - x)).square() * weights[:, None, None]).mean().item() * len(x)
        out.append(round(total / len(x0), 4))
    return out


def parse():
    a = argparse.ArgumentParser()
    a.add_argument('state')
    a.add_argument('tokenizer')
    a.add_argument('--start-from', help='a diffusers directory whose unet/ to begin with')
    a.add_argument('--samples', type=int, default=10**9)
    a.add_argument('--batch', type=int, default=32)
    a.add_argument('--lr', type=float, default=2e-3, help='of Muon; AdamW has half of it')
    a.add_argument('--decay-from', type=int, default=0, help='samples at which the rate begins to fall to 2%% at --samples')
    a.add_argument('--ema', type=float, default=.998)
    a.add_argument('--cells', type=float, default=.15, help='weight of the extra loss')
    a.add_argument('--single', type=float, default=1., help='how much oftener scenes of one object are drawn')
    a.add_argument('--adam', action='store_true', help='AdamW for everything (to compare)')
    a.add_argument('--compile', action='store_true', help='12%% faster after a minute or two')
    a.add_argument('--bf16', action='store_true', help='matrix products in bf16; 1.6 times faster where the CPU has avx512_bf16')
    a.add_argument('--threads', type=int, default=1)
    a.add_argument('--name', default='unet')
    a.add_argument('--pause-file')
    a.add_argument('--save-every', type=float, default=240.)
    return a.parse_args()


class Trainer:
    def __init__(self, o):
        self.o, self.path = o, os.path.join(o.state, o.name + '.pt')
        self.tokenizer = Tokenizer(o.tokenizer)
        self.scenes = Scenes(o.state, o.single)
        torch.manual_seed(4)
        self.text = CLIPTextModel(dict(TEXT, vocab_size=len(self.tokenizer.ids))).eval()
        self.text.load_state_dict(torch.load(os.path.join(o.state, 'text.pt'), weights_only=True)['model'])
        self.unet = UNet2DConditionModel().to(memory_format=torch.channels_last)
        self.head = CellHead(UNET['block_out_channels'][1])
        if o.start_from:
            from safetensors.torch import load_file
            weights = load_file(os.path.join(o.start_from, 'unet/diffusion_pytorch_model.safetensors'))
            self.unet.load_state_dict({k: v.float() for k, v in weights.items()})
        self.average = Average(self.unet, o.ema)
        self.judged = UNet2DConditionModel().eval()
        inner, rest = split_parameters(self.unet)
        rest += list(self.head.parameters())
        muon = torch.optim.AdamW(inner, o.lr / 2, betas=(.9, .99)) if o.adam else Muon(
            inner, o.lr, dtype=torch.bfloat16 if o.bf16 else torch.float32)
        self.optimisers = [muon, torch.optim.AdamW(rest, o.lr / 2, betas=(.9, .99), weight_decay=.01)]
        self.rates = [opt.param_groups[0]['lr'] for opt in self.optimisers]
        self.seen, core = 0, 0.
        if os.path.exists(self.path):
            core = self.load()
        else:
            vae = AutoencoderTiny()
            vae.load_state_dict(torch.load(os.path.join(o.state, 'vae.pt'), weights_only=True)['model'])
            self.weights = channel_weights(vae.decoder, self.scenes.latents)
        self.log = Log(os.path.join(o.state, o.name + '.log'), core)
        self.held = self.scenes.held_out(256)
        self.step = torch.compile(self.loss) if o.compile else self.loss

    def load(self):
        s = torch.load(self.path, weights_only=True)
        self.unet.load_state_dict(s['live'])
        self.head.load_state_dict(s['head'])
        self.average.load(s['average'])
        for opt, state in zip(self.optimisers, s['optimisers']):
            opt.load_state_dict(state)
        self.seen, self.weights = s['seen'], s['weights']
        return s['core_s']

    def save(self, record):
        self.judged.load_state_dict(self.average.shadow)
        held = judge(self.judged, self.text, self.held, self.tokenizer, self.weights)
        self.log.write(seen=self.seen, pictures=len(self.scenes.index), held=held, **record)
        save_atomic(dict(model=self.average.shadow, live=self.unet.state_dict(), head=self.head.state_dict(),
                         average=self.average.state(), optimisers=[opt.state_dict() for opt in self.optimisers],
                         seen=self.seen, weights=self.weights, core_s=self.log.core_s()), self.path)
        self.scenes.refresh()

    def loss(self, x0, e, s, context, presence, color, mask, whole):
        with torch.autocast('cpu', torch.bfloat16, enabled=self.o.bf16):
            v, inner = self.unet(noisy(x0, s, e), 1000 * s, context, features=True)
        weight = 1 + mask
        weight = (weight / weight.mean())[:, None] * self.weights[:, None, None]
        return ((v.float() - (e - x0)).square() * weight).mean(), self.head(inner.float(), presence, color, whole)

    def rate(self):
        o = self.o
        if o.decay_from and self.seen > o.decay_from:
            return max(.02, (o.samples - self.seen) / (o.samples - o.decay_from))
        return min(1., (self.seen + 1) / (100 * o.batch))

    def run(self):
        o = self.o
        r, g = np.random.default_rng(self.seen + 9), torch.Generator().manual_seed(self.seen + 9)
        captions, last, sums, count = random.Random(self.seen + 9), time.time(), np.zeros(2), 0
        while self.seen < o.samples:
            last += wait_while(o.pause_file)
            pick = self.scenes.pick(r, o.batch)
            x0 = self.scenes.latents[torch.from_numpy(pick)].float().contiguous(memory_format=torch.channels_last)
            ids, *grids = prepare(self.scenes.index[pick], self.tokenizer, captions)
            with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=o.bf16):
                context = self.text(ids).float()
            e = torch.randn(x0.shape, generator=g).contiguous(memory_format=torch.channels_last)
            main, extra = self.step(x0, e, levels(o.batch, g), context, *grids)
            for opt, rate in zip(self.optimisers, self.rates):
                opt.param_groups[0]['lr'] = rate * self.rate()
                opt.zero_grad(set_to_none=True)
            (main + o.cells * extra).backward()
            torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.)
            for opt in self.optimisers:
                opt.step()
            self.average.update()
            self.seen += o.batch
            sums, count = sums + [main.item(), extra.item()], count + 1
            if math.isnan(sums[0]):
                raise SystemExit('the loss is not a number')
            if time.time() - last > o.save_every or self.seen >= o.samples:
                self.save(dict(loss=round(sums[0] / count, 4), cells=round(sums[1] / count, 4)))
                last, sums, count = time.time(), np.zeros(2), 0


if __name__ == '__main__':
    options = parse()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    Trainer(options).run()
