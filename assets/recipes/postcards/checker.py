"""The attribute checker: a small CNN that reads subject, colour, count and the whole scene's attributes from a picture.

It looks at a picture's pixels at half size.  It learns from renders (data.py halves) and from renders that went through the
autoencoder (data.py decoded), since what it judges is the decoder's work and softer than a render.

    python3 checker.py train STATE                 goes on where it stopped; logs its own accuracy on held-out renders
    python3 checker.py held STATE                  its accuracy on all held-out pictures there are, renders and decoded
    python3 checker.py judge STATE FOLDER          FOLDER/0000.png .. drawn from attributes.txt, line by line
    python3 checker.py classes STATE FOLDER        FOLDER/0000.png .. are the classes of train_tokens.py, one of each
    python3 checker.py ceiling STATE               the same test on renders that went through the autoencoder
"""
import argparse
import functools
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
import visible
import world
from common import Log, Muon, save_atomic, split_parameters, wait_while
from data import shards
from maps import WHOLE
from render import render

KINDS, COLORS, GRID = len(world.SUBJECTS), len(world.COLORS) + 1, 16


def conv(n_in, n_out, stride=1):
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.body = nn.Sequential(conv(w, w), nn.Conv2d(w, w, 3, padding=1, bias=False), nn.BatchNorm2d(w))

    def forward(self, x):
        return F.relu(x + self.body(x))


class Checker(nn.Module):
    """Pixels [N,3,128,128] -> scene logits; per kind: presence, colour, count logits and x (0..1); the same per cell of 16x16."""

    def __init__(self, fine=64, w=112, coarse=176):
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), conv(48, fine))                        # 32x32
        self.fine = nn.Sequential(Residual(fine), conv(fine, w, 2), Residual(w), Residual(w))  # 16x16
        self.coarse = nn.Sequential(conv(w, coarse, 2), Residual(coarse), Residual(coarse))    # 8x8
        self.up, self.joined = nn.Conv2d(coarse, w, 1), Residual(w)
        self.cells = nn.Conv2d(w, KINDS, 1)
        self.color, self.count = nn.Linear(w, COLORS), nn.Linear(w + 1, 5)
        self.scene = nn.ModuleList(nn.Linear(2 * (w + coarse), len(v)) for v in WHOLE.values())

    def forward(self, pixels):
        with torch.autocast('cpu', torch.bfloat16, enabled=self.training):
            near = self.fine(self.stem(pixels))
            wide = self.coarse(near)
            f = self.joined(near + F.interpolate(self.up(wide), scale_factor=2.))
        f, wide = f.float(), wide.float()
        cell_map, flat = self.cells(f), f.flatten(2)
        cells = cell_map.flatten(2)                                               # [N,K,256]
        look = cells.softmax(2)
        seen = look @ flat.transpose(1, 2)                                        # [N,K,W]: what is where that kind is
        amount = cells.sigmoid().sum(2, keepdim=True) / 4
        column = (torch.arange(GRID) + .5).repeat(GRID) / GRID
        whole = torch.cat([g(x) for x in (flat, wide.flatten(2)) for g in (lambda y: y.mean(2), lambda y: y.amax(2))], 1)
        by_cell = F.linear(f.permute(0, 2, 3, 1), self.color.weight, self.color.bias).permute(0, 3, 1, 2)
        return dict(cells=cell_map, cell_color=by_cell, present=torch.logsumexp(2 * cells, 2) / 2 - 1., color=self.color(seen),
                    count=self.count(torch.cat([seen, amount], 2)), x=(look * column).sum(2),
                    scene=[head(whole) for head in self.scene])


@functools.cache
def truth(index):
    """Targets of a scene; -1 where a kind is absent."""
    q = world.scene_at(int(index))
    present, color, count, x = np.zeros(KINDS, np.float32), np.full(KINDS, -1), np.full(KINDS, -1), np.full(KINDS, -1., np.float32)
    for g, group in enumerate(q['groups']):
        k = world.SUBJECTS.index(group['kind'])
        present[k], count[k] = 1, group['count'] - 1
        color[k] = world.COLORS.index(group['color']) if group['color'] else COLORS - 1
        x[k] = np.mean([o['x'] for o in q['objects'] if o['group'] == g]) / world.SIZE
    return (present, color, count, x, *maps.grids(q, GRID), maps.whole(q))


def targets(index):
    rows = list(zip(*(truth(int(i)) for i in index)))
    return [torch.from_numpy(np.stack(r)) for r in rows[:-1]] + [torch.tensor(rows[-1])]


def mirrored(pixels, want):
    """Pictures and targets with left and right exchanged."""
    present, color, count, x, cells, cell_color, scene = want
    return pixels.flip(3), [present, color, count, torch.where(x < 0, x, 1 - x), cells.flip(3), cell_color.flip(2), scene]


def losses(out, want):
    """Weak labels (is there a cat?) and strong ones (in which cells?): the second teach where to look."""
    present, color, count, x, cells, cell_color, scene = want
    total = 12 * F.binary_cross_entropy_with_logits(out['cells'], cells.float())
    total = total + F.cross_entropy(out['cell_color'], cell_color, ignore_index=maps.NO_OBJECT)
    total = total + 2 * F.binary_cross_entropy_with_logits(out['present'], present)
    total = total + F.cross_entropy(out['color'].flatten(0, 1), color.flatten(), ignore_index=-1)
    total = total + .5 * F.cross_entropy(out['count'].flatten(0, 1), count.flatten(), ignore_index=-1)
    total = total + 4 * ((out['x'] - x).abs() * present).sum() / present.sum()
    return total + sum(F.cross_entropy(logits, scene[:, i]) for i, logits in enumerate(out['scene']))


def half(pictures):
    """uint8 [N,256,256,3] or halves of data.py [N,128,128,3] -> pixels [N,3,128,128] in -1..1."""
    x = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x if x.shape[-1] == 128 else F.avg_pool2d(x, 2)


def worn(pixels):
    """Training pixels: an eighth blurred a little, a sixteenth much, a quarter with noise."""
    n = len(pixels)
    for part, factor in ((slice(0, n // 8), 2), (slice(n // 8, n // 8 + n // 16), 4)):
        pixels[part] = F.interpolate(F.avg_pool2d(pixels[part], factor), scale_factor=factor, mode='bilinear')
    noisy = pixels[n // 4:n // 2]
    noisy += .06 * torch.rand(len(noisy), 1, 1, 1) * torch.randn_like(noisy)
    return pixels


class Pictures:
    """Half-size pictures by scene index, from files that may still be growing in number."""

    def __init__(self, state, kind):
        self.parts = [(s, a) for s, a in shards(state, kind) if s < world.HELD_OUT]
        self.index = np.concatenate([np.arange(s, s + len(a)) for s, a in self.parts] or [np.zeros(0, int)])
        self.starts = np.cumsum([0] + [len(a) for _, a in self.parts])

    def draw(self, r, n):
        """(indices, pictures) of n random ones."""
        pick = r.integers(len(self.index), size=n)
        part = np.searchsorted(self.starts, pick, 'right') - 1
        return self.index[pick], [self.parts[p][1][i - self.starts[p]] for p, i in zip(part, pick)]


def shares(right):
    """{name: [right or wrong]} -> {name: (share, how many)}"""
    return {k: (round(float(np.mean(v)), 4), len(v)) for k, v in right.items() if v}


def accuracy(model, pixels, index, seen=None):
    """Shares right on labelled pictures.  A subject is right when it is the strongest of its picture (one of the two strongest of a
    pair's), as score() counts.  `seen`, {index: kinds a person can see}: 'visible' is the same for these alone."""
    right = {k: [] for k in ('subject', 'visible', 'single', 'pair', 'color', 'count', 'x_error', *WHOLE)}
    model.eval()
    for i in range(0, len(pixels), 64):
        with torch.no_grad():
            out = model(half(pixels[i:i + 64]))
        present, color, count, x, _, _, scene = targets(index[i:i + 64])
        for j in range(len(present)):
            kinds, order = present[j].nonzero()[:, 0].tolist(), out['present'][j].argsort(descending=True).tolist()
            found = [float(k in order[:len(kinds)]) for k in kinds]
            right['subject'] += found
            right['pair' if len(kinds) == 2 else 'single'].append(min(found))
            if seen:
                clear = seen[index[i + j]]
                right['visible'] += [float(k in order[:len(clear)]) for k in clear]
            right['color'] += (out['color'][j, kinds].argmax(1) == color[j, kinds]).float().tolist()
            right['count'] += (out['count'][j, kinds].argmax(1) == count[j, kinds]).float().tolist()
            right['x_error'] += (out['x'][j, kinds] - x[j, kinds]).abs().tolist()
        for n, k in enumerate(WHOLE):
            right[k] += (out['scene'][n].argmax(1) == scene[:, n]).float().tolist()
    model.train()
    return shares(right)


def train(o):
    torch.manual_seed(6)
    model, path = Checker().to(memory_format=torch.channels_last), os.path.join(o.state, 'checker.pt')
    inner, rest = split_parameters(model, ('stem', 'cells', 'color', 'count', 'scene'))
    opts = [Muon(inner, 3e-3, dtype=torch.bfloat16), torch.optim.AdamW(rest, 1e-3, weight_decay=.02)]
    rates = [opt.param_groups[0]['lr'] for opt in opts]
    step, core = 0, 0.
    if os.path.exists(path):
        s = torch.load(path, weights_only=True)
        model.load_state_dict(s['model'])
        for opt, state in zip(opts, s['optimisers']):
            opt.load_state_dict(state)
        step, core = s['step'], s['core_s']
    log, last, r = Log(os.path.join(o.state, 'checker.log'), core), time.time(), np.random.default_rng(step)
    held = [(s, a) for s, a in shards(o.state, 'halves') if s >= world.HELD_OUT][0]
    sharp, soft = Pictures(o.state, 'halves'), Pictures(o.state, 'decoded')

    def save():
        right = accuracy(model, held[1], np.arange(held[0], held[0] + len(held[1])))
        log.write(step=step, loss=round(loss.item(), 3), drawn=[len(sharp.index), len(soft.index)], right={k: v[0] for k, v in right.items()})
        save_atomic(dict(model=model.state_dict(), optimisers=[opt.state_dict() for opt in opts], step=step, core_s=log.core_s()), path)
    while step < o.steps:
        wait_while(o.pause_file)
        few = o.batch // 3 if len(soft.index) else 0
        (i, a), (j, b) = sharp.draw(r, o.batch - few), soft.draw(r, few) if few else ((), [])
        pixels, want = worn(half(np.stack(a + b))), targets([*i, *j])
        if r.random() < .5:
            pixels, want = mirrored(pixels, want)
        loss = losses(model(pixels.contiguous(memory_format=torch.channels_last)), want)
        for opt, rate in zip(opts, rates):
            opt.param_groups[0]['lr'] = rate * min(1., (step + 1) / 200, max(.005, (o.steps - step) / (.5 * o.steps)))
            opt.zero_grad(set_to_none=True)
        loss.backward()
        for opt in opts:
            opt.step()
        step += 1
        if time.time() - last > 180 or step == o.steps:
            save()
            sharp, soft, last = Pictures(o.state, 'halves'), Pictures(o.state, 'decoded'), time.time()


def score(model, pixels, wanted):
    """Shares right of what each prompt names; colour only where the subject is right."""
    right = {k: [] for k in ('subject', 'color', *WHOLE, 'count', 'relation', 'everything')}
    model.eval()
    for i, want in enumerate(wanted):
        with torch.no_grad():
            out = model(pixels[i:i + 1])
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
    return shares(right)


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
    report(score(load(o.state), half(pictures), [wanted[i] for i in found]), len(found))


def held(o):
    """The checker's own figures, on renders and on decoded pictures; which subjects can be seen is decided by visible.py."""
    sees = functools.cache(lambda i: visible.kinds(world.scene_at(i)))
    for kind in ('halves', 'decoded'):
        parts = [(s, a) for s, a in shards(o.state, kind) if s >= world.HELD_OUT]
        index = [i for s, a in parts for i in range(s, s + len(a))]
        right = accuracy(load(o.state), np.concatenate([a for _, a in parts]), index, {i: sees(i) for i in index})
        out = right['subject'][1] - right['visible'][1]
        print('%s: %d of %d subjects cannot be seen (%.2f %%)' % (kind, out, right['subject'][1], 100 * out / right['subject'][1]))
        report(right, len(index))


def ceiling(o):
    """A scene for every prompt (what it does not name drawn at random), rendered, encoded, decoded, judged."""
    from models import AutoencoderTiny
    vae, wanted, pixels = AutoencoderTiny().eval(), attributes.listed(), []
    vae.load_state_dict(torch.load(os.path.join(o.state, 'vae.pt'), weights_only=True)['model'])
    for i, want in enumerate(wanted):
        r = random.Random('ceiling/%d' % i)
        fixed = {k: want[k] for k in ('ground', 'time', 'weather', 'season', 'style', 'relation') if want[k]}
        fixed['groups'] = [dict(g, size=None, color=g['color'] or world.random_group(r, g['kind'])['color']) for g in want['groups']]
        kind = want['groups'][0]['kind']
        fixed.setdefault('ground', r.choice([g for g in world.GROUNDS if world.allowed(kind, g) and (g != 'desert' or want['season'] in
                                             (None, 'summer'))]))
        with torch.no_grad():
            picture = torch.from_numpy(render(world.random_scene(r, **fixed))[None]).permute(0, 3, 1, 2) / 127.5 - 1
            pixels.append(F.avg_pool2d(vae.decoder(vae.encoder(picture)).clamp(-1, 1), 2))
    report(score(load(o.state), torch.cat(pixels), wanted), len(wanted))


def report(shares, n):
    print('%d pictures' % n)
    for k, (share, count) in shares.items():
        print('  %-10s %5.1f %% of %d' % (k, 100 * share, count))
    print(json.dumps({k: v[0] for k, v in shares.items()}))


def main():
    a = argparse.ArgumentParser()
    a.add_argument('what', choices=['train', 'held', 'judge', 'classes', 'ceiling'])
    a.add_argument('state')
    a.add_argument('folder', nargs='?')
    a.add_argument('--steps', type=int, default=4300)
    a.add_argument('--batch', type=int, default=48)
    a.add_argument('--pause-file')
    o = a.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    dict(train=train, held=held, judge=judge, classes=judge, ceiling=ceiling)[o.what](o)


if __name__ == '__main__':
    main()
