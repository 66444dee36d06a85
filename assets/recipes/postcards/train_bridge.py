"""Trains the restyling bridge on latents-*.npy and variants-*.npy (pairs.py); started again with the same folder it goes on.

    python3 train_bridge.py LATENTS STATE MODEL_DIR        MODEL_DIR: the starter model, as shipped

A Brownian bridge between two pictures of one scene: x_t = (1-t) source + t target + s sqrt(t (1-t)) e with s = .5, and
tau = 1 - t.  The network sees x_t beside the source and the instruction, at time 1000 tau - 1, and predicts
u = (x_t - target) / tau, so that target = x_t - tau u.  The error of u is divided by alpha, alpha^2 = 1 + s^2 t D / (tau |d|^2),
d the difference of the two pictures and D its numbers: without it the last bit of noise would be all that is learned.
The text encoder is the starter's, frozen.  The UNet begins with random weights: the starter's, cut to two thirds of its width,
were behind them in all five bins of t after 3000 samples.
"""
import argparse
import math
import os
import random
import time

import numpy as np
import torch
from safetensors.torch import load_file

import pairs
import world
from common import Average, Log, Muon, save_atomic, split_parameters, wait_while
from data import shards
from models import AutoencoderTiny, CLIPTextModel, TEXT, UNET, UNet2DConditionModel
from tokenizer import Tokenizer
from train_unet import channel_weights

NOISE, SHIFT, SAME, DROP = .5, 3., .04, .10
BRIDGE = dict(UNET, in_channels=32, block_out_channels=[64, 96])


class Pairs:
    """Three latents of each scene in memory; refresh() takes up files that appeared since."""

    def __init__(self, latents, state):
        self.folders, self.files, self.scenes = (latents, state), {}, {}
        self.refresh()

    def refresh(self):
        sources = dict(shards(self.folders[0], 'latents'))
        for start, a in shards(self.folders[1], 'variants'):
            if start not in self.files:
                first = np.array(sources[start][:len(a)])
                self.files[start] = torch.from_numpy(np.concatenate([first[:, None], a], 1))
        train = {s: a for s, a in self.files.items() if s < world.HELD_OUT}
        self.latents = torch.cat(list(train.values()))
        self.index = np.concatenate([np.arange(s, s + len(a)) for s, a in train.items()])

    def scene(self, i):
        """The three scenes of an index, without what only the renderer needs."""
        if i not in self.scenes:
            self.scenes[i] = [{k: v for k, v in q.items() if k != 'objects'} for q in pairs.variants(int(i))]
        return self.scenes[i]

    def batch(self, r, n, same=SAME, drop=DROP):
        """Latents of sources and targets, and their instructions; a few pictures are to stay as they are."""
        return self.make([(r.randrange(len(self.index)), r.randrange(3), r.randrange(1, 3)) for _ in range(n)], r, same, drop)

    def make(self, rows, r, same, drop, latents=None, index=None):
        latents, index = (self.latents, self.index) if latents is None else (latents, index)
        source, target, words = [], [], []
        for row, a, step in rows:
            b = a if r.random() < same else (a + step) % 3
            q = self.scene(index[row])
            source.append(latents[row, a])
            target.append(latents[row, b])
            words.append('' if r.random() < drop else pairs.instruction(r, q[a], q[b]))
        return torch.stack(source).float(), torch.stack(target).float(), words

    def held_out(self, n):
        start = min(s for s in self.files if s >= world.HELD_OUT)
        a, r = self.files[start], random.Random(5)
        rows = [(i % len(a), i % 3, 1 + i // 3 % 2) for i in range(n)]
        return self.make(rows, r, 0., 0., a, np.arange(start, start + len(a)))


def levels(n, g):
    """n values of t, one from each n-th of the range, denser near the source, as sampling steps are."""
    u = (torch.arange(n) + torch.rand(n, generator=g)) / n
    return (u / (SHIFT - (SHIFT - 1) * u)).clamp(max=.995)


def bridge(source, target, t, e):
    """(x_t, u, alpha^2 as [N,1,1,1])."""
    t = t[:, None, None, None]
    x = (1 - t) * source + t * target + NOISE * (t * (1 - t)).sqrt() * e
    d = (target - source).square().mean((1, 2, 3), keepdim=True).clamp(min=.05)
    return x, (x - target) / (1 - t), 1 + NOISE ** 2 * t / ((1 - t) * d)


def parse():
    a = argparse.ArgumentParser()
    a.add_argument('latents', help='folder with latents-*.npy and vae.pt')
    a.add_argument('state')
    a.add_argument('model', help='the starter model')
    a.add_argument('--samples', type=int, default=10**9)
    a.add_argument('--batch', type=int, default=48)
    a.add_argument('--lr', type=float, default=2e-3, help='of Muon; AdamW has half of it')
    a.add_argument('--decay-from', type=int, default=0, help='samples at which the rate begins to fall to 2%% at --samples')
    a.add_argument('--ema', type=float, default=.998)
    a.add_argument('--compile', action='store_true')
    a.add_argument('--bf16', action='store_true', help='matrix products in bf16')
    a.add_argument('--name', default='bridge')
    a.add_argument('--pause-file')
    a.add_argument('--save-every', type=float, default=180.)
    return a.parse_args()


class Trainer:
    def __init__(self, o):
        self.o, self.path = o, os.path.join(o.state, o.name + '.pt')
        self.tokenizer = Tokenizer(os.path.join(o.model, 'tokenizer'))
        self.pairs = Pairs(o.latents, o.state)
        torch.manual_seed(4)
        self.text = CLIPTextModel(dict(TEXT, vocab_size=len(self.tokenizer.ids))).eval()
        self.text.load_state_dict(self.shipped('text_encoder/model'))
        self.unet = UNet2DConditionModel(BRIDGE)
        self.unet.to(memory_format=torch.channels_last)
        self.average = Average(self.unet, o.ema)
        self.judged = UNet2DConditionModel(BRIDGE).eval()
        inner, rest = split_parameters(self.unet)
        muon = Muon(inner, o.lr, dtype=torch.bfloat16 if o.bf16 else torch.float32)
        self.optimisers = [muon, torch.optim.AdamW(rest, o.lr / 2, betas=(.9, .99), weight_decay=.01)]
        self.rates = [opt.param_groups[0]['lr'] for opt in self.optimisers]
        self.seen, core = 0, 0.
        if os.path.exists(self.path):
            core = self.load()
        else:
            vae = AutoencoderTiny()
            vae.load_state_dict(self.shipped('vae/diffusion_pytorch_model'))
            self.weights = channel_weights(vae.decoder, self.pairs.latents[:, 0])
        self.log = Log(os.path.join(o.state, o.name + '.log'), core)
        self.held = self.pairs.held_out(192)
        self.step = torch.compile(self.loss) if o.compile else self.loss

    def shipped(self, name):
        return {k: v.float() for k, v in load_file(os.path.join(self.o.model, name + '.safetensors')).items()}

    def load(self):
        s = torch.load(self.path, weights_only=True)
        self.unet.load_state_dict(s['live'])
        self.average.load(s['average'])
        for opt, state in zip(self.optimisers, s['optimisers']):
            opt.load_state_dict(state)
        self.seen, self.weights = s['seen'], s['weights']
        return s['core_s']

    def context(self, words):
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=self.o.bf16):
            return self.text(torch.tensor([self.tokenizer(w) for w in words])).float()

    @torch.no_grad()
    def judge(self):
        """Held-out loss in five bins of t, with fixed noise."""
        source, target, words = self.held
        context, g, out = self.context(words), torch.Generator().manual_seed(5), []
        for low in (.0, .2, .4, .6, .8):
            t = low + .199 * torch.rand(len(source), generator=g)
            x, u, alpha = bridge(source, target, t, torch.randn(source.shape, generator=g))
            with torch.autocast('cpu', torch.bfloat16, enabled=self.o.bf16):
                v = torch.cat([self.judged(torch.cat([x[i:i + 64], source[i:i + 64]], 1), 1000 * (1 - t[i:i + 64]) - 1,
                                           context[i:i + 64]) for i in range(0, len(x), 64)])
            out.append(round(((v.float() - u).square() / alpha * self.weights[:, None, None]).mean().item(), 4))
        return out

    def save(self, record):
        self.judged.load_state_dict(self.average.shadow)
        self.log.write(seen=self.seen, scenes=len(self.pairs.index), held=self.judge(), **record)
        save_atomic(dict(model=self.average.shadow, live=self.unet.state_dict(), average=self.average.state(),
                         optimisers=[opt.state_dict() for opt in self.optimisers], seen=self.seen, weights=self.weights,
                         core_s=self.log.core_s()), self.path)
        self.pairs.refresh()

    def loss(self, source, target, t, e, context):
        x, u, alpha = bridge(source, target, t, e)
        with torch.autocast('cpu', torch.bfloat16, enabled=self.o.bf16):
            v = self.unet(torch.cat([x, source], 1), 1000 * (1 - t) - 1, context)
        return ((v.float() - u).square() / alpha * self.weights[:, None, None]).mean()

    def rate(self):
        o = self.o
        if o.decay_from and self.seen > o.decay_from:
            return max(.02, (o.samples - self.seen) / (o.samples - o.decay_from))
        return min(1., (self.seen + 1) / (100 * o.batch))

    def run(self):
        o = self.o
        r, g = random.Random(self.seen + 9), torch.Generator().manual_seed(self.seen + 9)
        last, total, count = time.time(), 0., 0
        while self.seen < o.samples:
            last += wait_while(o.pause_file)
            source, target, words = self.pairs.batch(r, o.batch)
            source, target = (x.contiguous(memory_format=torch.channels_last) for x in (source, target))
            e = torch.randn(source.shape, generator=g).contiguous(memory_format=torch.channels_last)
            loss = self.step(source, target, levels(o.batch, g), e, self.context(words))
            for opt, rate in zip(self.optimisers, self.rates):
                opt.param_groups[0]['lr'] = rate * self.rate()
                opt.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.)
            for opt in self.optimisers:
                opt.step()
            self.average.update()
            self.seen += o.batch
            total, count = total + loss.item(), count + 1
            if math.isnan(total):
                raise SystemExit('the loss is not a number')
            if time.time() - last > o.save_every or self.seen >= o.samples:
                self.save(dict(loss=round(total / count, 4)))
                last, total, count = time.time(), 0., 0


if __name__ == '__main__':
    options = parse()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    Trainer(options).run()
