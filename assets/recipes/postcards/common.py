"""What the training programs share: pausing, atomic saves, a log, and the two optimisers."""
import json
import os
import time

import torch


def wait_while(path, poll=2.):
    """Sleeps while the pause file exists; returns the seconds slept."""
    start = time.time()
    while path and os.path.exists(path):
        time.sleep(poll)
    return time.time() - start


def save_atomic(state, path):
    """Writes to a temporary name, syncs, renames: a crash leaves the old file or the new one."""
    with open(path + '.part', 'wb') as f:
        torch.save(state, f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(path + '.part', path)


class Log:
    """One JSON object a line, appended; core_s counts this program's CPU seconds over all its lives."""

    def __init__(self, path, core_s=0.):
        self.path, self.base = path, core_s

    def core_s(self):
        return self.base + time.process_time()

    def write(self, **record):
        record.update(core_s=round(self.core_s()), time=time.strftime('%Y-%m-%dT%H:%M:%S'))
        with open(self.path, 'a') as f:
            f.write(json.dumps(record) + '\n')
        print(json.dumps(record), flush=True)


def orthogonalise(g, dtype):
    """Newton-Schulz iteration of Muon: the nearest matrix with singular values near 1.  It forgives bf16."""
    x = g.to(dtype)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.T if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, for the inner matrices and kernels (out, in*kh*kw).  Step RMS is about .2 lr, as Adam's."""

    def __init__(self, params, lr, momentum=.95, weight_decay=.01, dtype=torch.float32):
        self.dtype = dtype
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group['params']:
                if p.grad is None:
                    continue
                state = self.state[p]
                if 'm' not in state:
                    state['m'] = torch.zeros_like(p)
                m = state['m'].mul_(group['momentum']).add_(p.grad)
                g = (p.grad + group['momentum'] * m).reshape(p.shape[0], -1)
                update = orthogonalise(g, self.dtype) * (.2 * max(g.shape) ** .5)
                p.mul_(1 - group['lr'] * group['weight_decay'])
                p.add_(update.reshape(p.shape), alpha=-group['lr'])


def split_parameters(model, outer=('conv_in', 'conv_out', 'embedding')):
    """(inner matrices for Muon, the rest for AdamW)."""
    inner, rest = [], []
    for name, p in model.named_parameters():
        if p.requires_grad:
            (inner if p.ndim >= 2 and not any(o in name for o in outer) else rest).append(p)
    return inner, rest


class Average:
    """Exponential moving average of a module's parameters; the decay grows with its own age."""

    def __init__(self, model, decay):
        self.model, self.decay, self.age = model, decay, 0
        self.shadow = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self):
        d = min(self.decay, (1 + self.age) / (10 + self.age))
        self.age += 1
        live = self.model.state_dict()
        torch._foreach_lerp_(list(self.shadow.values()), [live[k].detach() for k in self.shadow], 1 - d)

    def state(self):
        return dict(shadow=self.shadow, age=self.age)

    def load(self, state):
        self.age = state['age']
        for k, v in state['shadow'].items():
            self.shadow[k].copy_(v)
