"""Starts a narrower UNet from a trained one of the same shape: of each group of channels, head and hidden layer the strongest
members stay.  It is not the same function any more, but a better start than random weights.

    narrow(weights, wide, slim, new_inputs) -> state dict       the configurations differ in block_out_channels only;
                                                                new_inputs channels of zero weight are added to conv_in
"""
import re

import torch


def strongest(score, groups, share):
    """Indices of the `share` strongest of each of `groups` equal parts, in order."""
    part = len(score) // groups
    keep = round(part * share)
    best = score.reshape(groups, part).topk(keep, 1).indices.sort(1).values
    return (best + part * torch.arange(groups)[:, None]).flatten()


class Narrow:
    def __init__(self, weights, wide, slim):
        self.w, self.groups = weights, wide['norm_num_groups']
        self.full, share = wide['block_out_channels'], {}
        self.share = [b / a for a, b in zip(self.full, slim['block_out_channels'])]
        self.heads = wide['attention_head_dim']
        stages = {0: ['down_blocks.0', 'up_blocks.1'], 1: ['down_blocks.1', 'up_blocks.0']}
        self.keep = []
        for i in stages:
            score = sum(w.square().flatten(1).sum(1).sqrt() for k, w in weights.items()
                        if k.startswith(tuple(stages[i])) and k.endswith('conv2.weight'))
            score = score + sum(w.flatten(1).norm(dim=1) for k, w in weights.items() if k == 'conv_in.weight' and i == 0)
            self.keep.append(strongest(score, self.groups, self.share[i]))
        n = self.full[0] // 2
        m = slim['block_out_channels'][0] // 2
        waves = torch.tensor([i * n // m for i in range(m)])      # sines of nearly the same frequency
        time = weights['time_embedding.linear_2.weight']
        self.waves = torch.cat([waves, waves + n])
        self.hidden, self.time = (strongest(time.norm(dim=d), 1, self.share[0]) for d in (0, 1))

    def stage(self, name):
        return {'down_blocks.0': 0, 'down_blocks.1': 1, 'up_blocks.0': 1, 'up_blocks.1': 0}[name]

    def joined(self, block, resnet, own):
        """Kept inputs of a resnet: of a down block's one picture, of an up block's two side by side."""
        if block.startswith('down'):
            return self.keep[0] if (block, resnet) == ('down_blocks.1', 0) else self.keep[own]
        first, second = {('up_blocks.0', 0): (1, 1), ('up_blocks.0', 1): (1, 0),
                         ('up_blocks.1', 0): (1, 0), ('up_blocks.1', 1): (0, 0)}[block, resnet]
        return torch.cat([self.keep[first], self.full[first] + self.keep[second]])

    def attention(self, key, stage):
        """(outputs, inputs) kept of a transformer's matrix."""
        base, part = re.match(r'(.*?)\.(proj_in|proj_out|norm|norm\d|attn\d\.\w+(?:\.0)?|ff\.net\.\d(?:\.proj)?)\.\w+$', key).groups()
        own, heads, share = self.keep[stage], self.heads[stage], self.share[stage]
        if part.startswith('attn'):
            name = base + '.' + part[:5] + '.'
            product = lambda a, b: self.w[name + a].norm(dim=1) * self.w[name + b[0]].norm(dim=b[1])
            if 'to_q' in part or 'to_k' in part:
                kept = strongest(product('to_q.weight', ('to_k.weight', 1)), heads, share)
            else:
                kept = strongest(product('to_v.weight', ('to_out.0.weight', 0)), heads, share)
            if 'to_out' in part:
                return own, kept
            return kept, own if part.startswith('attn1') or 'to_q' in part else None
        if part.startswith('ff'):
            kept = strongest(self.w[base + '.ff.net.2.weight'].norm(dim=0), 1, share)
            both = torch.cat([kept, kept + self.w[base + '.ff.net.2.weight'].shape[1]])
            return (both, own) if part.endswith('proj') else (own, kept)
        return own, own

    def kept(self, key):
        if key.startswith('conv_in'):
            return self.keep[0], None
        if key.startswith('conv_norm_out'):
            return self.keep[0], None
        if key.startswith('conv_out'):
            return None, self.keep[0]
        if key.startswith('time_embedding'):
            return (self.time, self.waves) if 'linear_1' in key else (self.hidden, self.time)
        block = key[:key.index('.', key.index('.') + 1)]
        stage = self.stage(block)
        own = self.keep[stage]
        if '.attentions.' in key:
            return self.attention(key, stage)
        if 'samplers' in key:
            return own, own
        inputs = self.joined(block, int(re.search(r'resnets\.(\d)', key).group(1)), stage)
        if 'norm1' in key:
            return inputs, None
        if 'time_emb_proj' in key:
            return own, self.hidden
        return own, inputs if 'conv1' in key or 'conv_shortcut' in key else own


def narrow(weights, wide, slim, new_inputs=0):
    plan, out = Narrow(weights, wide, slim), {}
    for key, w in weights.items():
        rows, columns = plan.kept(key)
        if rows is not None:
            w = w[rows]
        if columns is not None and w.ndim > 1:
            w = w[:, columns]
        if key == 'conv_in.weight':
            w = torch.cat([w, torch.zeros(w.shape[0], new_inputs, *w.shape[2:])], 1)
        out[key] = w.clone()
    return out
