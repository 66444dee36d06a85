"""The attribute checker: a small CNN that reads subject, colour, count and the whole scene's attributes from a picture.

It looks at a picture through the autoencoder's encoder (a 256x256 picture is a 16x16 map of 16 channels), so it judges what
the model can express at all, and learns from the same latents-*.npy files as the UNet.

    python3 checker.py train STATE                 goes on where it stopped; prints its own accuracy on held-out pictures
    python3 checker.py judge STATE FOLDER          FOLDER/0000.png .. drawn from attributes.txt, line by line
    python3 checker.py classes STATE FOLDER        FOLDER/0000.png .. are the classes of train_tokens.py, one of each
    python3 checker.py ceiling STATE               the same test on renders that went through the autoencoder
"""
import argparse
import json
import os
import random
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import attributes
import maps
import world
from common import Log, Muon, save_atomic, split_parameters, wait_while
from data import shards
from maps import WHOLE

KINDS, COLORS = len(world.SUBJECTS), len(world.COLORS) + 1


class Residual(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(w, w, 3, padding=1, bias=False), nn.BatchNorm2d(w), nn.ReLU(),
                                  nn.Conv2d(w, w, 3, padding=1, bias=False), nn.BatchNorm2d(w))

    def forward(self, x):
        return F.relu(x + self.body(x))


class Checker(nn.Module):
    """Latents [N,16,16,16] -> scene logits; per kind: presence, colour, count logits and x (0..1)."""

    def __init__(self, fine=96, w=160):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(16, fine, 3, padding=1, bias=False), nn.BatchNorm2d(fine), nn.ReLU(), Residual(fine),
                                  nn.Conv2d(fine, w, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(w), nn.ReLU(),
                                  *(Residual(w) for _ in range(3)))                # [N,w,8,8]
        self.cells = nn.Conv2d(w, KINDS, 1)
        self.color, self.count = nn.Linear(w, COLORS), nn.Linear(w + 1, 5)
        self.scene = nn.ModuleList(nn.Linear(2 * w, len(v)) for v in WHOLE.values())

    def forward(self, x):
        with torch.autocast('cpu', torch.bfloat16, enabled=self.training):
            f = self.body(x)
        f = f.float()
        n, w, h, _ = f.shape
        cell_map = self.cells(f)
        cells = cell_map.flatten(2)                                               # [N,K,64]
        look = cells.softmax(2)
        seen = look @ f.flatten(2).transpose(1, 2)                                # [N,K,W]: what is where that kind is
        amount = cells.sigmoid().sum(2, keepdim=True)
        column = (torch.arange(h) + .5).repeat(h) / h
        flat = f.flatten(2)
        whole = torch.cat([flat.mean(2), flat.amax(2)], 1)
        by_cell = F.linear(f.permute(0, 2, 3, 1), self.color.weight, self.color.bias).permute(0, 3, 1, 2)
        return dict(cells=cell_map, cell_color=by_cell, present=torch.logsumexp(2 * cells, 2) / 2 - 1., color=self.color(seen),
                    count=self.count(torch.cat([seen, amount], 2)), x=(look * column).sum(2),
                    scene=[head(whole) for head in self.scene])


def truth(index):
    """Targets of a scene; -1 where a kind is absent."""
    q = world.scene_at(int(index))
    present, color, count, x = np.zeros(KINDS, np.float32), np.full(KINDS, -1), np.full(KINDS, -1), np.full(KINDS, -1., np.float32)
    for g, group in enumerate(q['groups']):
        k = world.SUBJECTS.index(group['kind'])
        present[k], count[k] = 1, group['count'] - 1
        color[k] = world.COLORS.index(group['color']) if group['color'] else COLORS - 1
        x[k] = np.mean([o['x'] for o in q['objects'] if o['group'] == g]) / world.SIZE
    cells, cell_color = maps.grids(q, 8)
    return present, color, count, x, cells.astype(np.float32), cell_color, maps.whole(q)


def targets(index):
    rows = list(zip(*(truth(i) for i in index)))
    return [torch.from_numpy(np.stack(r)) for r in rows[:-1]] + [torch.tensor(rows[-1])]


def losses(out, want):
    """Weak labels (is there a cat?) and strong ones (in which cells?): the second teach where to look."""
    present, color, count, x, cells, cell_color, scene = want
    total = 8 * F.binary_cross_entropy_with_logits(out['cells'], cells)
    total = total + F.cross_entropy(out['cell_color'], cell_color, ignore_index=maps.NO_OBJECT)
    total = total + 2 * F.binary_cross_entropy_with_logits(out['present'], present)
    total = total + F.cross_entropy(out['color'].flatten(0, 1), color.flatten(), ignore_index=-1)
    total = total + .5 * F.cross_entropy(out['count'].flatten(0, 1), count.flatten(), ignore_index=-1)
    total = total + 4 * ((out['x'] - x).abs() * present).sum() / present.sum()
    return total + sum(F.cross_entropy(logits, scene[:, i]) for i, logits in enumerate(out['scene']))


def autoencoder(state):
    from models import AutoencoderTiny
    vae = AutoencoderTiny().eval()
    vae.load_state_dict(torch.load(os.path.join(state, 'vae.pt'), weights_only=True)['model'])
    return vae


@torch.no_grad()
def encode(vae, pictures):
    """uint8 [N,256,256,3] -> latents."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return torch.cat([vae.encoder(p) for p in x.split(8)])


def accuracy(model, latents, index):
    """Shares right on labelled latents; a subject is right when it is the strongest of its picture (or both of a pair are)."""
    right = {k: [] for k in ('subject', 'color', 'count', 'x_error', *WHOLE)}
    model.eval()
    for i in range(0, len(latents), 64):
        with torch.no_grad():
            out = model(latents[i:i + 64])
        present, color, count, x, _, _, scene = targets(index[i:i + 64])
        for j in range(len(present)):
            kinds = present[j].nonzero()[:, 0]
            top = out['present'][j].topk(len(kinds)).indices
            right['subject'].append(float(set(top.tolist()) == set(kinds.tolist())))
            right['color'] += (out['color'][j, kinds].argmax(1) == color[j, kinds]).float().tolist()
            right['count'] += (out['count'][j, kinds].argmax(1) == count[j, kinds]).float().tolist()
            right['x_error'] += ((out['x'][j, kinds] - x[j, kinds]).abs() * world.SIZE).tolist()
        for n, k in enumerate(WHOLE):
            right[k] += (out['scene'][n].argmax(1) == scene[:, n]).float().tolist()
    model.train()
    return {k: round(float(np.mean(v)), 3) for k, v in right.items()}


def train(o):
    torch.manual_seed(6)
    model, path = Checker().to(memory_format=torch.channels_last), os.path.join(o.state, 'checker.pt')
    inner, rest = split_parameters(model, ('body.0.',))
    opts = [Muon(inner, 2e-3), torch.optim.AdamW(rest, 1e-3, weight_decay=.02)]
    rates = [opt.param_groups[0]['lr'] for opt in opts]
    step, core = 0, 0.
    if os.path.exists(path):
        s = torch.load(path, weights_only=True)
        model.load_state_dict(s['model'])
        for opt, state in zip(opts, s['optimisers']):
            opt.load_state_dict(state)
        step, core = s['step'], s['core_s']
    log, last, r = Log(os.path.join(o.state, 'checker.log'), core), time.time(), np.random.default_rng(step)
    files = [(s, torch.from_numpy(np.array(a))) for s, a in shards(o.state, 'latents')]
    held = [(s, a.float()) for s, a in files if s >= world.HELD_OUT][0]
    index = np.concatenate([np.arange(s, s + len(a)) for s, a in files if s < world.HELD_OUT])
    latents = torch.cat([a for s, a in files if s < world.HELD_OUT])
    cache = {}

    def save():
        log.write(step=step, right=accuracy(model, held[1], np.arange(held[0], held[0] + len(held[1]))))
        save_atomic(dict(model=model.state_dict(), optimisers=[opt.state_dict() for opt in opts], step=step, core_s=log.core_s()), path)
    while step < o.steps:
        wait_while(o.pause_file)
        pick = r.integers(len(index), size=o.batch)
        x = latents[torch.from_numpy(pick)].float()
        x = (x + .2 * torch.rand(len(x), 1, 1, 1) * torch.randn_like(x)).contiguous(memory_format=torch.channels_last)
        for i in index[pick]:
            if i not in cache:
                cache[i] = truth(i)
        rows = list(zip(*(cache[i] for i in index[pick])))
        loss = losses(model(x), [torch.from_numpy(np.stack(c)) for c in rows[:-1]] + [torch.tensor(rows[-1])])
        for opt, rate in zip(opts, rates):
            opt.param_groups[0]['lr'] = rate * min(1., (step + 1) / 100, max(.01, (o.steps - step) / (.5 * o.steps)))
            opt.zero_grad(set_to_none=True)
        loss.backward()
        for opt in opts:
            opt.step()
        step += 1
        if time.time() - last > 120 or step == o.steps:
            save()
            last = time.time()


def score(model, latents, wanted):
    """Shares right of what each prompt names; colour only where the subject is right."""
    right = {k: [] for k in ('subject', 'color', *WHOLE, 'count', 'relation', 'everything')}
    model.eval()
    for i, want in enumerate(wanted):
        with torch.no_grad():
            out = model(latents[i:i + 1])
        kinds = [world.SUBJECTS.index(g['kind']) for g in want['groups']]
        top = out['present'][0].topk(len(kinds)).indices.tolist()
        mine = []
        for g, k in zip(want['groups'], kinds):
            mine.append(('subject', k in top))
            if g['color'] and k in top:
                mine.append(('color', out['color'][0, k].argmax().item() == world.COLORS.index(g['color'])))
            if g['count'] > 1 and k in top:
                mine.append(('count', out['count'][0, k].argmax().item() == g['count'] - 1))
        mine += [(k, v[out['scene'][n].argmax().item()] == want[k]) for n, (k, v) in enumerate(WHOLE.items()) if want[k]]
        if want['relation'] in ('left', 'right') and set(top) == set(kinds):
            order = out['x'][0, kinds[0]] < out['x'][0, kinds[1]]
            mine.append(('relation', bool(order) == (want['relation'] == 'left')))
        for k, ok in mine:
            right[k].append(float(ok))
        right['everything'].append(float(all(ok for _, ok in mine)))
    return {k: (round(float(np.mean(v)), 3), len(v)) for k, v in right.items() if v}


def load(state):
    model = Checker().eval()
    model.load_state_dict(torch.load(os.path.join(state, 'checker.pt'), weights_only=True)['model'])
    return model


def class_wishes():
    """What each class of train_tokens.py names."""
    from train_tokens import CLASSES
    nothing = dict.fromkeys([*WHOLE, 'relation'])
    return [dict(nothing, ground=ground, groups=[dict(kind=kind, color=None, count=1)]) for kind, ground in CLASSES]


def judge(o):
    from PIL import Image
    wanted = class_wishes() if o.what == 'classes' else attributes.listed()
    found = [i for i in range(len(wanted)) if os.path.exists(os.path.join(o.folder, '%04d.png' % i))]
    pictures = np.stack([np.asarray(Image.open(os.path.join(o.folder, '%04d.png' % i)).convert('RGB')) for i in found])
    report(score(load(o.state), encode(autoencoder(o.state), pictures), [wanted[i] for i in found]), len(found))


def ceiling(o):
    """A scene for every prompt (what it does not name drawn at random), rendered, encoded, decoded, judged."""
    from render import render
    vae, wanted, latents = autoencoder(o.state), attributes.listed(), []
    for i, want in enumerate(wanted):
        r = random.Random('ceiling/%d' % i)
        fixed = {k: want[k] for k in ('ground', 'time', 'weather', 'season', 'style', 'relation') if want[k]}
        fixed['groups'] = [dict(g, size=None, color=g['color'] or world.random_group(r, g['kind'])['color']) for g in want['groups']]
        kind = want['groups'][0]['kind']
        fixed.setdefault('ground', r.choice([g for g in world.GROUNDS if world.allowed(kind, g) and (g != 'desert' or want['season'] in
                                             (None, 'summer'))]))
        with torch.no_grad():
            y = vae.decoder(encode(vae, render(world.random_scene(r, **fixed))[None])).clamp(-1, 1)
            latents.append(vae.encoder(y))
    report(score(load(o.state), torch.cat(latents), wanted), len(wanted))


def report(shares, n):
    print('%d pictures' % n)
    for k, (share, count) in shares.items():
        print('  %-10s %5.1f %% of %d' % (k, 100 * share, count))
    print(json.dumps({k: v[0] for k, v in shares.items()}))


def main():
    a = argparse.ArgumentParser()
    a.add_argument('what', choices=['train', 'judge', 'classes', 'ceiling'])
    a.add_argument('state')
    a.add_argument('folder', nargs='?')
    a.add_argument('--steps', type=int, default=4000)
    a.add_argument('--batch', type=int, default=32)
    a.add_argument('--pause-file')
    o = a.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    dict(train=train, judge=judge, classes=judge, ceiling=ceiling)[o.what](o)


if __name__ == '__main__':
    main()
