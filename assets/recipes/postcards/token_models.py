"""The two networks of tokens, DiT and Diffusion-RWKV, with exactly the parameter names of their published files.

Latents [N,16,16,16] are cut in patches of 2x2: 64 tokens.  Both are told the time (0..1000) and a class; the number after the
last class means "none".  bi-WKV is computed as products with the whole table of its weights, which suits few tokens.
"""
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

DIT = dict(_class_name='DiTTransformer2DModel', sample_size=16, in_channels=16, out_channels=16, patch_size=2, num_layers=5,
           num_attention_heads=4, attention_head_dim=32, num_embeds_ada_norm=75, norm_type='ada_norm_zero',
           activation_fn='gelu-approximate', attention_bias=True, norm_elementwise_affine=False, norm_eps=1e-6, dropout=0.,
           upcast_attention=False)
RWKV = dict(_class_name='DiffRWKVModel', img_size=16, channels=16, patch_size=2, embed_dim=128, depth=5, num_classes=75,
            learn_sigma=False)


def time_features(t, shift):
    """[cos | sin] of 128 frequencies; the last is 1/10000^(127/(128-shift))."""
    f = torch.exp(-math.log(10000) * torch.arange(128) / (128 - shift)).to(t.device)
    a = t.float()[:, None] * f
    return torch.cat([a.cos(), a.sin()], 1)


def grid_positions(side, width):
    """[side*side, width]: half for x, half for y; each sines, then cosines."""
    w = 10000 ** (-np.arange(width // 4) / (width // 4))
    y, x = np.mgrid[:side, :side].reshape(2, -1, 1)
    return torch.from_numpy(np.concatenate([np.sin(x * w), np.cos(x * w), np.sin(y * w), np.cos(y * w)], 1)).float()


def unpatchify(x, side, p):
    """[N,T,p*p*C], channel fastest -> [N,C,side*p,side*p]."""
    x = x.view(len(x), side, side, p, p, -1)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(len(x), -1, side * p, side * p)


def modulate(x, shift, scale):
    return x * (1 + scale) + shift


def start(model, zero):
    """Glorot matrices, no biases; modulations and the last layer begin at zero, so that a block begins as the identity."""
    for name, p in model.named_parameters():
        if any(z in name for z in zero):
            nn.init.zeros_(p)
        elif 'embedder' in name or 'time_embed' in name or 'label_emb' in name:
            nn.init.zeros_(p) if p.ndim == 1 else nn.init.normal_(p, std=.02)
        elif p.ndim >= 2 and p.shape[0] > 1:
            nn.init.xavier_uniform_(p.view(p.shape[0], -1))
        elif name.endswith('bias'):
            nn.init.zeros_(p)


# ---- DiT, in the diffusers format: every block has embedders of its own

class TimestepEmbedding(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(256, d), nn.Linear(d, d)

    def forward(self, t):
        return self.linear_2(F.silu(self.linear_1(t)))


class ClassEmbedding(nn.Module):
    def __init__(self, n, d):
        super().__init__()
        self.embedding_table = nn.Embedding(n + 1, d)


class AdaNormEmbedding(nn.Module):
    def __init__(self, n, d):
        super().__init__()
        self.timestep_embedder, self.class_embedder = TimestepEmbedding(d), ClassEmbedding(n, d)

    def forward(self, t, y):
        return F.silu(self.timestep_embedder(t) + self.class_embedder.embedding_table(y))[:, None]


class AdaNormZero(nn.Module):
    def __init__(self, n, d):
        super().__init__()
        self.emb, self.linear = AdaNormEmbedding(n, d), nn.Linear(d, 6 * d)


class Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(d, d) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(d, d)])

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = (f(x).view(n, t, self.heads, -1).transpose(1, 2) for f in (self.to_q, self.to_k, self.to_v))
        y = (q @ k.transpose(2, 3) * (d // self.heads) ** -.5).softmax(3).to(v.dtype) @ v     # few tokens: quicker than the fused one
        return self.to_out[0](y.transpose(1, 2).reshape(n, t, d))


class Gelu(nn.Module):
    def __init__(self, d, inner):
        super().__init__()
        self.proj = nn.Linear(d, inner)

    def forward(self, x):
        return F.gelu(self.proj(x), approximate='tanh')


class FeedForward(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.net = nn.ModuleList([Gelu(d, 4 * d), nn.Identity(), nn.Linear(4 * d, d)])

    def forward(self, x):
        return self.net[2](self.net[0](x))


class DiTBlock(nn.Module):
    def __init__(self, c, d):
        super().__init__()
        self.eps = c['norm_eps']
        self.norm1, self.attn1 = AdaNormZero(c['num_embeds_ada_norm'], d), Attention(d, c['num_attention_heads'])
        self.ff = FeedForward(d)

    def forward(self, x, t, y):
        shift1, scale1, gate1, shift2, scale2, gate2 = self.norm1.linear(self.norm1.emb(t, y)).chunk(6, 2)
        x = x + gate1 * self.attn1(modulate(F.layer_norm(x, x.shape[2:], eps=1e-6), shift1, scale1))
        return x + gate2 * self.ff(modulate(F.layer_norm(x, x.shape[2:], eps=self.eps), shift2, scale2))


class PatchEmbed(nn.Module):
    def __init__(self, channels, d, p):
        super().__init__()
        self.proj = nn.Conv2d(channels, d, p, stride=p)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class DiT(nn.Module):
    inner_names = ('attn1', 'ff')                      # Muon's; the rest is AdamW's

    def __init__(self, c=DIT):
        super().__init__()
        d = c['num_attention_heads'] * c['attention_head_dim']
        self.config, self.width, self.side = c, d, c['sample_size'] // c['patch_size']
        self.null_class = c['num_embeds_ada_norm']
        self.pos_embed = PatchEmbed(c['in_channels'], d, c['patch_size'])
        self.transformer_blocks = nn.ModuleList(DiTBlock(c, d) for _ in range(c['num_layers']))
        self.proj_out_1, self.proj_out_2 = nn.Linear(d, 2 * d), nn.Linear(d, c['patch_size'] ** 2 * c['out_channels'])
        self.register_buffer('positions', grid_positions(self.side, d), persistent=False)
        start(self, ('norm1.linear', 'proj_out'))

    def forward(self, x, time, label, features=False):
        """x [N,16,16,16], time [N], label [N] -> the same shape; features: also the tokens amid the blocks."""
        t = time_features(time, 1)
        x, inner = self.pos_embed(x) + self.positions, None
        for i, block in enumerate(self.transformer_blocks):
            x = block(x, t, label)
            inner = x if i == len(self.transformer_blocks) // 2 else inner
        shift, scale = self.proj_out_1(self.transformer_blocks[0].norm1.emb(t, label)).chunk(2, 2)
        x = self.proj_out_2(modulate(F.layer_norm(x, x.shape[2:], eps=1e-6), shift, scale))
        x = unpatchify(x, self.side, self.config['patch_size'])
        return (x, inner) if features else x


# ---- Diffusion-RWKV

def wkv_weights(w, u, count):
    """The weights [D,T,T] that e^{k_j} v_j has in token i, as the published kernel: 32 segments of ceil(T/32) tokens."""
    i = torch.arange(count)[:, None]
    j, length = i.T, -(-count // 32)
    same = (i // length == j // length) & (j < i)
    w, apart = w[:, None, None], (i - j).abs()
    grow = 1 - w.exp()
    table = torch.exp(-w * (apart - same.long()))
    table = table + torch.where(same & (j % length > 0), grow * torch.exp(w * apart), 0.)
    return torch.where(i == j, u.exp()[:, None, None] + torch.where(i % length > 0, grow, 0.), table)


def bi_wkv(w, u, k, v):
    """w, u [D]; k, v [N,T,D] -> [N,T,D].  One exponent for all tokens of a channel: enough while w T stays small."""
    with torch.autocast('cpu', enabled=False):
        table = wkv_weights(w.float(), u.float(), k.shape[1])
        k, v = k.float().permute(2, 1, 0), v.float().permute(2, 1, 0)             # [D,T,N]
        e = torch.exp(k - k.amax(1, keepdim=True).detach())
        num, den = (table @ torch.cat([e * v, e], 2)).chunk(2, 2)
        return (num / (den + 1e-6)).permute(2, 1, 0)


class Mixes(nn.Module):
    """Token shift and the projections both mixes of a block need."""

    def __init__(self, d, names):
        super().__init__()
        for n in names:
            self.register_parameter('spatial_mix_' + n, nn.Parameter(torch.linspace(1, 0, d).view(1, 1, d) * .5 + .5))

    def shifted(self, x, side):
        n, t, d = x.shape
        q = d // 4
        g = F.pad(x.view(n, side, side, d), (0, 0, 1, 1, 1, 1))
        parts = [g[:, 1:-1, :-2, :q], g[:, 1:-1, 2:, q:2 * q], g[:, :-2, 1:-1, 2 * q:3 * q], g[:, 2:, 1:-1, 3 * q:4 * q],
                 g[:, 1:-1, 1:-1, 4 * q:]]
        return torch.cat(parts, 3).reshape(n, t, d)

    def mixed(self, name, x, other):
        mu = getattr(self, 'spatial_mix_' + name)
        return x * mu + other * (1 - mu)


class SpatialMix(Mixes):
    def __init__(self, d, index, depth):
        super().__init__(d, 'kvr')
        ramp = torch.arange(d) / (d - 1)
        self.spatial_decay = nn.Parameter(-2 + 18 * ramp ** (.7 + 1.3 * index / max(1, depth - 1)))
        self.spatial_first = nn.Parameter(math.log(.3) + ((torch.arange(d) + 1) % 3 - 1) * .5)
        self.key, self.value, self.receptance, self.output = (nn.Linear(d, d, bias=False) for _ in range(4))

    def forward(self, x, side):
        other, t = self.shifted(x, side), x.shape[1]
        k, v = self.key(self.mixed('k', x, other)), self.value(self.mixed('v', x, other))
        y = bi_wkv(self.spatial_decay / t, self.spatial_first / t, k, v)
        return self.output(torch.sigmoid(self.receptance(self.mixed('r', x, other))) * y)


class ChannelMix(Mixes):
    def __init__(self, d):
        super().__init__(d, 'kr')
        self.key, self.receptance, self.value = nn.Linear(d, 4 * d, bias=False), nn.Linear(d, d, bias=False), nn.Linear(4 * d, d, bias=False)

    def forward(self, x, side):
        other = self.shifted(x, side)
        k = F.relu(self.key(self.mixed('k', x, other))).square()
        return torch.sigmoid(self.receptance(self.mixed('r', x, other))) * self.value(k)


class RWKVBlock(nn.Module):
    def __init__(self, d, index, depth):
        super().__init__()
        if index == 0:
            self.ln0 = nn.LayerNorm(d)
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.att, self.ffn = SpatialMix(d, index, depth), ChannelMix(d)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(d, 6 * d))
        if index > depth // 2:
            self.skip_linear = nn.Linear(2 * d, d)

    def forward(self, x, c, side, skip=None):
        if skip is not None:
            x = self.skip_linear(torch.cat([x, skip], 2))
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(c).chunk(6, 2)
        x = self.ln0(x) if hasattr(self, 'ln0') else x
        x = x + gate1 * self.att(modulate(self.ln1(x), shift1, scale1), side)
        return x + gate2 * self.ffn(modulate(self.ln2(x), shift2, scale2), side)


class TimeEmbed(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, d), nn.SiLU(), nn.Linear(d, d))


class FinalLayer(nn.Module):
    def __init__(self, d, out):
        super().__init__()
        self.adaLN_modulation, self.linear = nn.Sequential(nn.SiLU(), nn.Linear(d, 2 * d)), nn.Linear(d, out)

    def forward(self, x, c):
        return self.linear(modulate(F.layer_norm(x, x.shape[2:], eps=1e-6), *self.adaLN_modulation(c).chunk(2, 2)))


class DiffRWKV(nn.Module):
    inner_names = ('key', 'value', 'receptance', 'output', 'skip_linear')

    def __init__(self, c=RWKV):
        super().__init__()
        d, depth, p = c['embed_dim'], c['depth'], c['patch_size']
        self.config, self.width, self.side = c, d, c['img_size'] // p
        self.null_class = c['num_classes']
        self.patch_embed, self.time_embed = PatchEmbed(c['channels'], d, p), TimeEmbed(d)
        if c['num_classes'] > 0:
            self.label_emb = ClassEmbedding(c['num_classes'], d)
        self.in_blocks = nn.ModuleList(RWKVBlock(d, i, depth) for i in range(depth // 2))
        self.mid_block = RWKVBlock(d, depth // 2, depth)
        self.out_blocks = nn.ModuleList(RWKVBlock(d, depth // 2 + 1 + i, depth) for i in range(depth // 2))
        self.norm_f = nn.LayerNorm(d)
        self.final_layer = FinalLayer(d, p * p * c['channels'] * (2 if c['learn_sigma'] else 1))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.side ** 2, d))
        start(self, ('adaLN_modulation', 'final_layer'))
        self.pos_embed.data.copy_(grid_positions(self.side, d))

    def forward(self, x, time, label, features=False):
        c = self.time_embed.mlp(time_features(time, 0))
        if hasattr(self, 'label_emb'):
            c = c + self.label_emb.embedding_table(label)
        c, x, skips = c[:, None], self.patch_embed(x) + self.pos_embed, []
        for block in self.in_blocks:
            x = block(x, c, self.side)
            skips.append(x)
        x = inner = self.mid_block(x, c, self.side)
        for block in self.out_blocks:
            x = block(x, c, self.side, skips.pop())
        x = unpatchify(self.final_layer(self.norm_f(x), c), self.side, self.config['patch_size'])
        return (x, inner) if features else x
