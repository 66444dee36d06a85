"""Trains the autoencoder on pictures-*.npy of a state folder; started again with the same folder it goes on.

It begins with the closed-form transform code of vae_start.py and trains end to end.  With --decoder-only the encoder is
frozen, the latent space is final, and the decoder learns on, to forgive the noise of a diffusion model as well.
"""
import argparse
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

from common import Average, Log, Muon, save_atomic, split_parameters, wait_while
from data import shards
from models import AutoencoderTiny
from vae_start import start


class Pictures:
    def __init__(self, folder):
        self.arrays = [a for _, a in shards(folder, 'pictures')]
        self.count = sum(len(a) for a in self.arrays)

    def crops(self, r, n, size):
        """n crops [n,3,size,size] in [-1,1], corners on multiples of 16 so that blocks match the PCA's."""
        out = np.empty((n, size, size, 3), np.uint8)
        for i in range(n):
            a = self.arrays[r.integers(len(self.arrays))]
            y, x = 16 * r.integers(0, (256 - size) // 16 + 1, 2)
            out[i] = a[r.integers(len(a)), y:y + size, x:x + size]
        return torch.from_numpy(out).permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous(
            memory_format=torch.channels_last)


def losses(out, x):
    e = out - x
    flat = e.abs().mean() + e.square().mean()
    grads = (e[..., 1:] - e[..., :-1]).abs().mean() + (e[..., 1:, :] - e[..., :-1, :]).abs().mean()
    return flat + .5 * grads + .5 * F.avg_pool2d(e, 8).abs().mean()


@torch.no_grad()
def psnr(model, x):
    z = torch.cat([model.encoder(p) for p in x.split(8)])
    y = torch.cat([model.decoder(p) for p in z.split(8)])
    mse = (y.clamp(-1, 1) - x).square().mean((1, 2, 3)) / 4
    db = -10 * mse.log10()
    return db.mean().item(), db.median().item(), z


def parse():
    a = argparse.ArgumentParser()
    a.add_argument('folder')
    a.add_argument('--steps', type=int, default=6000)
    a.add_argument('--batch', type=int, default=8)
    a.add_argument('--lr', type=float, default=1e-3)
    a.add_argument('--noise', type=float, default=.1)
    a.add_argument('--bf16', action='store_true', help='convolutions in bf16; twice as fast where the CPU has avx512_bf16')
    a.add_argument('--threads', type=int, default=1)
    a.add_argument('--decoder-only', action='store_true')
    a.add_argument('--init-only', action='store_true', help='write the closed-form weights and stop')
    a.add_argument('--name', default='vae')
    a.add_argument('--pause-file')
    a.add_argument('--save-every', type=float, default=180.)
    return a.parse_args()


def loss_of(model, x, o):
    noise = o.noise * torch.rand(len(x), 1, 1, 1)
    with torch.set_grad_enabled(not o.decoder_only):
        z = model.encoder(x)
    with torch.autocast('cpu', torch.bfloat16, enabled=o.bf16):
        out = model.decoder(z + noise * torch.randn_like(z))
    loss = losses(out.float(), x)
    if not o.decoder_only:                 # latents stay centred, with deviations between .4 and 1
        mean, var = z.mean((0, 2, 3)), z.var((0, 2, 3))
        loss = loss + .05 * (mean.square() + (var - 1).clamp_min(0).square() + 4 * (.16 - var).clamp_min(0).square()).mean()
    return loss


def main():
    o = parse()
    torch.set_num_threads(o.threads)
    torch.set_flush_denormal(True)
    path = os.path.join(o.folder, o.name + '.pt')
    pictures = Pictures(o.folder)
    torch.manual_seed(1)
    model = AutoencoderTiny().to(memory_format=torch.channels_last)
    if not os.path.exists(path):
        start(model, pictures.crops(np.random.default_rng(3), 320, 256))
    average = Average(model, .995)
    if o.decoder_only:
        model.encoder.requires_grad_(False)
    inner, rest = split_parameters(model, ('encoder.layers.0.', 'decoder.layers.0.'))
    if o.init_only:
        save_atomic(dict(model=model.state_dict()), path)
        return
    optimisers = [Muon(inner, o.lr, weight_decay=0.), torch.optim.AdamW(rest, o.lr, betas=(.9, .99), weight_decay=0.)]
    step, core = 0, 0.
    if os.path.exists(path):
        s = torch.load(path, weights_only=True)
        model.load_state_dict(s.get('live', s['model']))
        average.load(s.get('average', dict(shadow=s['model'], age=0)))
        if s.get('decoder_only') == o.decoder_only:
            for opt, state in zip(optimisers, s['optimisers']):
                opt.load_state_dict(state)
            step = s['step']
        core = s.get('core_s', 0.)
    log = Log(os.path.join(o.folder, o.name + '.log'), core)
    held = torch.from_numpy(np.stack([pictures.arrays[-1][-i] for i in range(1, 65)])).permute(0, 3, 1, 2).float() / 127.5 - 1
    for a in pictures.arrays[-1:]:
        pictures.arrays[-1] = a[:-64]
    r = np.random.default_rng(step + 17)
    last, total, seen = time.time(), 0., 0
    judged = AutoencoderTiny().to(memory_format=torch.channels_last)

    def save():
        judged.load_state_dict(average.shadow)
        mean, median, z = psnr(judged, held)
        log.write(step=step, loss=round(total / max(seen, 1), 4), psnr=round(mean, 2), median=round(median, 2),
                  latent_mean=round(z.mean((0, 2, 3)).abs().max().item(), 3),
                  latent_std=[round(v, 2) for v in z.std((0, 2, 3)).tolist()])
        save_atomic(dict(model=average.shadow, live=model.state_dict(), average=average.state(), step=step,
                         decoder_only=o.decoder_only, core_s=log.core_s(),
                         optimisers=[opt.state_dict() for opt in optimisers]), path)

    while step < o.steps:
        wait_while(o.pause_file)
        x = pictures.crops(r, o.batch, 128)
        tail = (o.steps - step) / (.30 * o.steps)
        lr = o.lr * min(1., (step + 1) / 100, .02 + .98 * tail)
        loss = loss_of(model, x, o)
        for opt in optimisers:
            opt.param_groups[0]['lr'] = lr
            opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.)
        for opt in optimisers:
            opt.step()
        average.update()
        step, total, seen = step + 1, total + loss.item(), seen + 1
        if step % 50 == 0 and math.isnan(total):
            raise SystemExit('the loss is not a number')
        if time.time() - last > o.save_every:
            save()
            last, total, seen = time.time(), 0., 0
    save()


if __name__ == '__main__':
    main()
