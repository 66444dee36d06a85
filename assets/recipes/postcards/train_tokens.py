"""Trains a class-conditional network of tokens on latents-*.npy of a state folder; started again with the same folder it goes on.

    python3 train_tokens.py dit|rwkv LATENTS STATE [--start-from MODEL_DIR]

LATENTS is the folder of the latents and of vae.pt, STATE that of this training.  A class is a subject on a ground ("cat in
snow"); pictures of one object are learned.  Objective, noise levels and the two helps are those of train_unet.py: flow matching,
levels shifted by 3, cells with the object weigh double, and a head on the inner tokens must name what stands where.
"""
import argparse
import math
import os
import time

import numpy as np
import torch

import maps
import world
from common import Average, Log, Muon, save_atomic, wait_while
from data import shards
from models import AutoencoderTiny, VAE
from token_models import DiT, DiffRWKV
from train_unet import CellHead, channel_weights, levels, noisy

NETWORKS = dict(dit=DiT, rwkv=DiffRWKV)
CLASSES = [(kind, ground) for kind in world.SUBJECTS for ground in world.GROUNDS if world.allowed(kind, ground)]
PLACES = dict(lake='by a lake', sea='by the sea', meadow='in a meadow', desert='in the desert', snow='in snow', city='in the city')
NOUNS = dict(balloon='hot-air balloon', pine='pine tree', oak='leafy tree', palm='palm tree')


def label(kind, ground):
    """What may be said for a class: "cat in the desert, a cat in the desert, cat desert"."""
    noun, place = NOUNS.get(kind, kind), PLACES[ground]
    names = ['%s %s' % (noun, place), 'a %s %s' % (noun, place), '%s %s' % (kind, ground)]
    for article in ('in the ', 'in a ', 'by the ', 'by a '):
        if place.startswith(article):
            names.append('%s %s %s' % (noun, article.split()[0], ground))
    if ground == 'snow':
        names += ['%s in the snow' % noun, 'a %s in the snow' % noun]
    return ', '.join(dict.fromkeys(names))


class Singles:
    """Latents of the scenes of one object, their classes, and where the object stands as small grids."""

    def __init__(self, folder):
        self.latents, index = [], []
        self.held, held_index = None, []
        for begin, a in shards(folder, 'latents'):
            keep = [i for i in range(len(a)) if len(world.scene_at(begin + i)['objects']) == 1]
            part = torch.from_numpy(np.array(a[keep]))
            if begin >= world.HELD_OUT:
                self.held, held_index = part.float(), [begin + i for i in keep]
            else:
                self.latents.append(part)
                index += [begin + i for i in keep]
        self.latents = torch.cat(self.latents)
        scenes = [world.scene_at(i) for i in index]
        self.labels = torch.tensor([self.number(q) for q in scenes])
        self.held_labels = torch.tensor([self.number(world.scene_at(i)) for i in held_index])
        small = [maps.grids(q, 8) for q in scenes]
        self.presence = torch.from_numpy(np.stack([p for p, _ in small]))
        self.color = torch.from_numpy(np.stack([c for _, c in small]).astype(np.int8))
        self.mask = torch.from_numpy(np.stack([maps.grids(q, 16)[0].any(0) for q in scenes]))
        self.whole = torch.tensor([maps.whole(q) for q in scenes])

    @staticmethod
    def number(q):
        return CLASSES.index((q['groups'][0]['kind'], q['ground']))

    def batch(self, pick):
        return (self.latents[pick].float(), self.labels[pick], self.presence[pick].float(), self.color[pick].long(),
                self.mask[pick].float(), self.whole[pick])


@torch.no_grad()
def judge(net, scenes, weights):
    """Held-out loss in five bins of the noise level, with fixed noise."""
    g, out = torch.Generator().manual_seed(5), []
    x, y = scenes.held, scenes.held_labels
    for low in (.0, .2, .4, .6, .8):
        e, s = torch.randn(x.shape, generator=g), low + .2 * torch.rand(len(x), generator=g)
        v = net(noisy(x, s, e), 1000 * s, y)
        out.append(round(((v - (e - x)).square() * weights[:, None, None]).mean().item(), 4))
    return out


def parse():
    a = argparse.ArgumentParser()
    a.add_argument('network', choices=list(NETWORKS))
    a.add_argument('latents')
    a.add_argument('state')
    a.add_argument('--start-from', help='a model directory whose transformer/ to begin with')
    a.add_argument('--core-minutes', type=float, default=40., help='CPU time to spend, over all lives')
    a.add_argument('--decay', type=float, default=.35, help='share of that time in which the rate falls to 2%%')
    a.add_argument('--batch', type=int, default=64)
    a.add_argument('--lr', type=float, default=3e-3, help='of Muon; AdamW has half of it')
    a.add_argument('--ema', type=float, default=.998)
    a.add_argument('--cells', type=float, default=.15, help='weight of the extra loss')
    a.add_argument('--drop', type=float, default=.1, help='share of pictures without a class')
    a.add_argument('--compile', action='store_true')
    a.add_argument('--bf16', action='store_true')
    a.add_argument('--pause-file')
    a.add_argument('--save-every', type=float, default=180.)
    return a.parse_args()


class Trainer:
    def __init__(self, o):
        os.makedirs(o.state, exist_ok=True)
        self.o, self.path = o, os.path.join(o.state, o.network + '.pt')
        self.scenes = Singles(o.latents)
        torch.manual_seed(6)
        self.net = NETWORKS[o.network]()
        self.head = CellHead(self.net.width)
        if o.start_from:
            from safetensors.torch import load_file
            weights = load_file(os.path.join(o.start_from, 'transformer/diffusion_pytorch_model.safetensors'))
            self.net.load_state_dict({k: v.float() for k, v in weights.items()})
        self.average, self.judged = Average(self.net, o.ema), NETWORKS[o.network]().eval()
        self.optimisers = self.make_optimisers()
        self.rates = [[g['lr'] for g in opt.param_groups] for opt in self.optimisers]
        self.seen, core = 0, 0.
        if os.path.exists(self.path):
            core = self.load()
        else:
            vae = AutoencoderTiny(VAE)
            vae.load_state_dict(torch.load(os.path.join(o.latents, 'vae.pt'), weights_only=True)['model'])
            self.weights = channel_weights(vae.decoder, self.scenes.latents)
        self.log = Log(os.path.join(o.state, o.network + '.log'), core)
        self.step = torch.compile(self.loss) if o.compile else self.loss

    def make_optimisers(self):
        inner, rest = [], []
        for name, p in self.net.named_parameters():
            is_inner = p.ndim == 2 and any(n in name for n in self.net.inner_names)
            (inner if is_inner else rest).append(p)
        muon = Muon(inner, self.o.lr, dtype=torch.bfloat16 if self.o.bf16 else torch.float32)
        return [muon, torch.optim.AdamW(rest + list(self.head.parameters()), self.o.lr / 2, betas=(.9, .99), weight_decay=.01)]

    def load(self):
        s = torch.load(self.path, weights_only=True)
        self.net.load_state_dict(s['live'])
        self.head.load_state_dict(s['head'])
        self.average.load(s['average'])
        for opt, state in zip(self.optimisers, s['optimisers']):
            opt.load_state_dict(state)
        self.seen, self.weights = s['seen'], s['weights']
        return s['core_s']

    def save(self, record):
        self.judged.load_state_dict(self.average.shadow)
        held = judge(self.judged, self.scenes, self.weights)
        self.log.write(seen=self.seen, pictures=len(self.scenes.latents), held=held, **record)
        save_atomic(dict(model=self.average.shadow, live=self.net.state_dict(), head=self.head.state_dict(),
                         average=self.average.state(), optimisers=[opt.state_dict() for opt in self.optimisers],
                         seen=self.seen, weights=self.weights, core_s=self.log.core_s()), self.path)

    def loss(self, x0, e, s, labels, presence, color, mask, whole):
        with torch.autocast('cpu', torch.bfloat16, enabled=self.o.bf16):
            v, inner = self.net(noisy(x0, s, e), 1000 * s, labels, features=True)
        side = self.net.side
        inner = inner.float().transpose(1, 2).reshape(len(inner), -1, side, side)
        weight = 1 + mask
        weight = (weight / weight.mean())[:, None] * self.weights[:, None, None]
        return ((v.float() - (e - x0)).square() * weight).mean(), self.head(inner, presence, color, whole)

    def rate(self):
        """Constant, then linear to 2 % at the end of the time; a hundred steps of warming up."""
        left = 1 - self.log.core_s() / (60 * self.o.core_minutes)
        return min(1., (self.seen + 1) / (100 * self.o.batch), max(.02, left / self.o.decay))

    def run(self):
        o, n = self.o, len(self.scenes.latents)
        g, last, sums, count = torch.Generator().manual_seed(self.seen + 9), time.time(), np.zeros(2), 0
        while True:
            last += wait_while(o.pause_file)
            x0, labels, *grids = self.scenes.batch(torch.randint(n, (o.batch,), generator=g))
            labels = torch.where(torch.rand(o.batch, generator=g) < o.drop, self.net.null_class, labels)
            e = torch.randn(x0.shape, generator=g)
            main, extra = self.step(x0, e, levels(o.batch, g), labels, *grids)
            rate = self.rate()
            for opt, rates in zip(self.optimisers, self.rates):
                for group, own in zip(opt.param_groups, rates):
                    group['lr'] = own * rate
                opt.zero_grad(set_to_none=True)
            (main + o.cells * extra).backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.)
            for opt in self.optimisers:
                opt.step()
            self.average.update()
            self.seen += o.batch
            sums, count = sums + [main.item(), extra.item()], count + 1
            if math.isnan(sums[0]):
                raise SystemExit('the loss is not a number')
            over = self.log.core_s() > 60 * o.core_minutes
            if over or time.time() - last > o.save_every:
                self.save(dict(loss=round(sums[0] / count, 4), cells=round(sums[1] / count, 4)))
                last, sums, count = time.time(), np.zeros(2), 0
            if over:
                return


if __name__ == '__main__':
    options = parse()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    Trainer(options).run()
