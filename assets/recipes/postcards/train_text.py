"""Trains the text encoder, before any picture, to say what a caption names; started again it goes on.

Linear heads read 17 attributes from the mean of all 77 context vectors.  The UNet's cross attention starts as just that
mean, so from its first step on it is given the whole meaning of the caption in linear form.  The heads are thrown away.

    python3 train_text.py STATE TOKENIZER_FOLDER
"""
import argparse
import os
import random
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

import world
from captions import caption
from common import Average, Log, Muon, save_atomic, split_parameters, wait_while
from models import CLIPTextModel, TEXT
from tokenizer import Tokenizer

# Every head's classes; class 0 is "not named".
HEADS = dict(ground=world.GROUNDS, time=world.TIMES, weather=world.WEATHERS, season=world.SEASONS, style=world.STYLES,
             water=world.WATERS, relation=world.RELATIONS, side=world.SIDES)
GROUP = dict(kind=world.SUBJECTS, color=world.COLORS, count=[1, 2, 3, 4, 5], size=world.SIZES)


def head_sizes():
    sizes = {k: len(v) + 1 for k, v in HEADS.items()}
    sizes.update({'%s%d' % (k, g): len(v) + 1 for k, v in GROUP.items() for g in (0, 1)})
    return sizes


def targets(said):
    out = {k: 1 + v.index(said[k]) if said[k] is not None else 0 for k, v in HEADS.items()}
    for g in (0, 1):
        group = said['groups'][g] if g < len(said['groups']) else {}
        out.update({'%s%d' % (k, g): 1 + v.index(group[k]) if group.get(k) is not None else 0 for k, v in GROUP.items()})
    return out


class Batches:
    def __init__(self, tokenizer):
        self.tokenizer, self.sizes = tokenizer, head_sizes()

    def __call__(self, start, n):
        ids, wanted = [], []
        for i in range(start, start + n):
            text, said = caption(world.scene_at(i), random.Random('text/%d' % i))
            if i % 40 == 0:
                text, said = '', dict.fromkeys(said, None) | dict(groups=[])
            ids.append(self.tokenizer(text))
            wanted.append(targets(said))
        return torch.tensor(ids), {k: torch.tensor([w[k] for w in wanted]) for k in self.sizes}


def main():
    a = argparse.ArgumentParser()
    a.add_argument('state')
    a.add_argument('tokenizer')
    a.add_argument('--steps', type=int, default=1500)
    a.add_argument('--batch', type=int, default=64)
    a.add_argument('--lr', type=float, default=2e-3)
    a.add_argument('--pause-file')
    o = a.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(2)
    batches = Batches(Tokenizer(o.tokenizer))
    model = CLIPTextModel(dict(TEXT, vocab_size=len(batches.tokenizer.ids)))
    heads = nn.ModuleDict({k: nn.Linear(TEXT['hidden_size'], n) for k, n in batches.sizes.items()})
    both = nn.ModuleList([model, heads])
    inner, rest = split_parameters(model)
    rest += list(heads.parameters())
    optimisers = [Muon(inner, o.lr), torch.optim.AdamW(rest, o.lr, betas=(.9, .99), weight_decay=.01)]
    average = Average(both, .99)
    path, step, core = os.path.join(o.state, 'text.pt'), 0, 0.
    if os.path.exists(path):
        s = torch.load(path, weights_only=True)
        both.load_state_dict(s['live'])
        average.load(s['average'])
        for opt, state in zip(optimisers, s['optimisers']):
            opt.load_state_dict(state)
        step, core = s['step'], s['core_s']
    log, last = Log(os.path.join(o.state, 'text.log'), core), time.time()
    held_ids, held = batches(world.HELD_OUT, 1024)

    def save(loss):
        live = {k: v.clone() for k, v in both.state_dict().items()}
        both.load_state_dict(average.shadow)
        with torch.no_grad():
            pooled = torch.cat([model(p).mean(1) for p in held_ids.split(64)])
            right = {k: round((heads[k](pooled).argmax(1) == held[k]).float().mean().item(), 3) for k in heads}
        weights = {k: v.clone() for k, v in model.state_dict().items()}
        both.load_state_dict(live)
        log.write(step=step, loss=round(loss, 4), right=right)
        save_atomic(dict(model=weights, live=live, average=average.state(), step=step, core_s=log.core_s(),
                         optimisers=[opt.state_dict() for opt in optimisers]), path)

    while step < o.steps:
        wait_while(o.pause_file)
        ids, wanted = batches(step * o.batch, o.batch)
        pooled = model(ids).mean(1)
        loss = sum(F.cross_entropy(heads[k](pooled), wanted[k]) for k in wanted) / len(wanted)
        for opt in optimisers:
            opt.param_groups[0]['lr'] = o.lr * min(1., (step + 1) / 50, max(.02, (o.steps - step) / (.4 * o.steps)))
            opt.zero_grad(set_to_none=True)
        loss.backward()
        for opt in optimisers:
            opt.step()
        average.update()
        step += 1
        if time.time() - last > 30 or step == o.steps:
            save(loss.item())
            last = time.time()


if __name__ == '__main__':
    main()
