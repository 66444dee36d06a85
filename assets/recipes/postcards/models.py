"""The three networks, with exactly the parameter names of a diffusers directory, so that a state dict is the file.

Only what these configurations need is here.  Shapes are PyTorch's: pictures and latents [N,C,H,W], tokens [N,T,C].
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

VAE = dict(_class_name='AutoencoderTiny', in_channels=3, out_channels=3, latent_channels=16, act_fn='relu',
           encoder_block_out_channels=[32] * 5, num_encoder_blocks=[0, 1, 1, 2, 2],
           decoder_block_out_channels=[32] * 5, num_decoder_blocks=[3, 3, 3, 1, 0], upsampling_scaling_factor=2,
           latent_magnitude=3, latent_shift=.5, scaling_factor=1., shift_factor=0., force_upcast=False)
TEXT = dict(architectures=['CLIPTextModel'], model_type='clip_text_model', hidden_size=128, intermediate_size=512,
            num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=77, hidden_act='quick_gelu',
            layer_norm_eps=1e-5, projection_dim=128)
UNET = dict(_class_name='UNet2DConditionModel', sample_size=16, in_channels=16, out_channels=16, center_input_sample=False,
            block_out_channels=[96, 144], down_block_types=['DownBlock2D', 'CrossAttnDownBlock2D'], mid_block_type=None,
            up_block_types=['CrossAttnUpBlock2D', 'UpBlock2D'], layers_per_block=1, attention_head_dim=[3, 3],
            cross_attention_dim=128, use_linear_projection=True, norm_num_groups=16, norm_eps=1e-5, act_fn='silu',
            transformer_layers_per_block=1, flip_sin_to_cos=True, freq_shift=0)


# ---- autoencoder: AutoencoderTiny, pictures in [-1,1]

class TinyBlock(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(w, w, 3, padding=1), nn.ReLU(), nn.Conv2d(w, w, 3, padding=1), nn.ReLU(),
                                  nn.Conv2d(w, w, 3, padding=1))

    def forward(self, x):
        return F.relu(self.conv(x) + x)


class TinyEncoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        layers, w = [], c['encoder_block_out_channels'][0]
        for i, blocks in enumerate(c['num_encoder_blocks']):
            layers.append(nn.Conv2d(3, w, 3, padding=1) if i == 0 else nn.Conv2d(w, w, 3, padding=1, stride=2, bias=False))
            layers += [TinyBlock(w) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(w, c['latent_channels'], 3, padding=1))

    def forward(self, x):
        return self.layers(x * .5 + .5)


class TinyDecoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        w, n = c['decoder_block_out_channels'][0], len(c['num_decoder_blocks'])
        layers = [nn.Conv2d(c['latent_channels'], w, 3, padding=1), nn.ReLU()]
        for i, blocks in enumerate(c['num_decoder_blocks']):
            layers += [TinyBlock(w) for _ in range(blocks)]
            if i < n - 1:
                layers += [nn.Upsample(scale_factor=2), nn.Conv2d(w, w, 3, padding=1, bias=False)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(w, 3, 3, padding=1))

    def forward(self, z):
        return self.layers(torch.tanh(z / 3) * 3) * 2 - 1


class AutoencoderTiny(nn.Module):
    def __init__(self, c=VAE):
        super().__init__()
        self.encoder, self.decoder = TinyEncoder(c), TinyDecoder(c)
        for m in self.modules():                       # without norms the signal must keep its size by itself
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, nonlinearity='relu')
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
            if isinstance(m, TinyBlock):
                m.conv[4].weight.data.mul_(.05)        # a block begins as nearly the identity
        for net in (self.encoder, self.decoder):
            net.layers[-1].weight.data.mul_(.3)
        self.decoder.layers[-1].bias.data.fill_(.5)


# ---- text encoder: CLIPTextModel

class ClipAttention(nn.Module):
    def __init__(self, w, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(w, w) for _ in range(4))

    def forward(self, x):
        n, t, w = x.shape
        q, k, v = (f(x).view(n, t, self.heads, -1).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).reshape(n, t, w))


class ClipMlp(nn.Module):
    def __init__(self, w, inner):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(w, inner), nn.Linear(inner, w)

    def forward(self, x):
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))


class ClipLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        w = c['hidden_size']
        self.self_attn, self.mlp = ClipAttention(w, c['num_attention_heads']), ClipMlp(w, c['intermediate_size'])
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(w), nn.LayerNorm(w)

    def forward(self, x):
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class CLIPTextModel(nn.Module):
    """ids [N,77] -> last hidden state after the final norm [N,77,width]."""

    def __init__(self, c):
        super().__init__()
        w = c['hidden_size']
        m = self.text_model = nn.Module()
        m.embeddings = nn.Module()
        m.embeddings.token_embedding = nn.Embedding(c['vocab_size'], w)
        m.embeddings.position_embedding = nn.Embedding(c['max_position_embeddings'], w)
        nn.init.normal_(m.embeddings.token_embedding.weight, std=.05)
        nn.init.normal_(m.embeddings.position_embedding.weight, std=.02)
        m.encoder = nn.Module()
        m.encoder.layers = nn.ModuleList(ClipLayer(c) for _ in range(c['num_hidden_layers']))
        m.final_layer_norm = nn.LayerNorm(w)

    def forward(self, ids):
        m = self.text_model
        x = m.embeddings.token_embedding(ids) + m.embeddings.position_embedding.weight[:ids.shape[1]]
        for layer in m.encoder.layers:
            x = layer(x)
        return m.final_layer_norm(x)


# ---- UNet2DConditionModel: two stages, no middle block

class Resnet(nn.Module):
    def __init__(self, n_in, n_out, n_time, groups):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, n_in), nn.Conv2d(n_in, n_out, 3, padding=1)
        self.time_emb_proj = nn.Linear(n_time, n_out)
        self.norm2, self.conv2 = nn.GroupNorm(groups, n_out), nn.Conv2d(n_out, n_out, 3, padding=1)
        if n_in != n_out:
            self.conv_shortcut = nn.Conv2d(n_in, n_out, 1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x, t):
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(t)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.conv_shortcut(x) if hasattr(self, 'conv_shortcut') else x)


class Attention(nn.Module):
    def __init__(self, w, heads, context):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(w, w, bias=False)
        self.to_k, self.to_v = nn.Linear(context, w, bias=False), nn.Linear(context, w, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(w, w)])

    def forward(self, x, context):
        n, t, w = x.shape
        q, k, v = (f(y).view(n, y.shape[1], self.heads, -1).transpose(1, 2) for f, y in
                   ((self.to_q, x), (self.to_k, context), (self.to_v, context)))
        y = (q * q.shape[-1] ** -.5 @ k.transpose(2, 3)).softmax(3).to(v.dtype) @ v      # faster than the fused op when training at 8x8
        return self.to_out[0](y.transpose(1, 2).reshape(n, t, w))


class GEGLU(nn.Module):
    def __init__(self, w, inner):
        super().__init__()
        self.proj = nn.Linear(w, 2 * inner)

    def forward(self, x):
        a, gate = self.proj(x).chunk(2, -1)
        return a * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.net = nn.ModuleList([GEGLU(w, 4 * w), nn.Identity(), nn.Linear(4 * w, w)])

    def forward(self, x):
        return self.net[2](self.net[0](x))


class Block(nn.Module):
    def __init__(self, w, heads, context):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(w), nn.LayerNorm(w), nn.LayerNorm(w)
        self.attn1, self.attn2, self.ff = Attention(w, heads, w), Attention(w, heads, context), FeedForward(w)

    def forward(self, x, context):
        y = self.norm1(x)
        x = x + self.attn1(y, y)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class Transformer(nn.Module):
    def __init__(self, w, heads, context, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, w, eps=1e-6)
        self.proj_in, self.proj_out = nn.Linear(w, w), nn.Linear(w, w)
        self.transformer_blocks = nn.ModuleList([Block(w, heads, context)])
        nn.init.zeros_(self.proj_out.weight)

    def forward(self, x, context):
        n, c, h, w = x.shape
        y = self.proj_in(self.norm(x).permute(0, 2, 3, 1).reshape(n, h * w, c))
        y = self.proj_out(self.transformer_blocks[0](y, context))
        return x + y.reshape(n, h, w, c).permute(0, 3, 1, 2)


class Resample(nn.Module):
    def __init__(self, w, up):
        super().__init__()
        self.up, self.conv = up, nn.Conv2d(w, w, 3, padding=1, stride=1 if up else 2)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.) if self.up else x)


class Stage(nn.Module):
    """One down or up block: resnets, each followed by a transformer if `heads`, then a change of size."""

    def __init__(self, widths, n_out, n_time, groups, heads, context, resample):
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(w, n_out, n_time, groups) for w in widths)
        if heads:
            self.attentions = nn.ModuleList(Transformer(n_out, heads, context, groups) for _ in widths)
        if resample:
            setattr(self, resample + 'samplers', nn.ModuleList([Resample(n_out, resample == 'up')]))

    def step(self, i, x, t, context):
        x = self.resnets[i](x, t)
        return self.attentions[i](x, context) if hasattr(self, 'attentions') else x


def timestep_embedding(t, dim):
    f = torch.exp(torch.arange(dim // 2, device=t.device) * (-math.log(10000) / (dim // 2)))
    a = t.float()[:, None] * f[None]
    return torch.cat([a.cos(), a.sin()], 1)


class UNet2DConditionModel(nn.Module):
    def __init__(self, c=UNET):
        super().__init__()
        w, g, ctx = c['block_out_channels'], c['norm_num_groups'], c['cross_attention_dim']
        n_time, last, n = 4 * w[0], len(w) - 1, c['layers_per_block']
        self.width = w[0]
        self.conv_in = nn.Conv2d(c['in_channels'], w[0], 3, padding=1)
        self.time_embedding = nn.Module()
        self.time_embedding.linear_1, self.time_embedding.linear_2 = nn.Linear(w[0], n_time), nn.Linear(n_time, n_time)
        heads = c['attention_head_dim']
        skips, self.down_blocks, x = [w[0]], nn.ModuleList(), w[0]
        for i, kind in enumerate(c['down_block_types']):
            self.down_blocks.append(Stage([x] + [w[i]] * (n - 1), w[i], n_time, g, heads[i] if 'Attn' in kind else 0, ctx,
                                          'down' if i < last else ''))
            x = w[i]
            skips += [x] * (n + (i < last))
        self.up_blocks = nn.ModuleList()
        for j, kind in enumerate(c['up_block_types']):
            i, widths = last - j, []
            for _ in range(n + 1):
                widths.append(x + skips.pop())
                x = w[i]
            self.up_blocks.append(Stage(widths, w[i], n_time, g, heads[i] if 'Attn' in kind else 0, ctx, 'up' if i else ''))
        self.conv_norm_out, self.conv_out = nn.GroupNorm(g, w[0]), nn.Conv2d(w[0], c['out_channels'], 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x, time, context, features=False):
        """x [N,16,h,w], time [N] in 0..1000, context [N,T,128].  features: also the first up block's, before upsampling."""
        e = self.time_embedding
        t = e.linear_1(timestep_embedding(time, self.width).to(e.linear_1.weight.dtype))
        t = F.silu(e.linear_2(F.silu(t)))
        x = self.conv_in(x)
        skips = [x]
        for b in self.down_blocks:
            for i in range(len(b.resnets)):
                x = b.step(i, x, t, context)
                skips.append(x)
            if hasattr(b, 'downsamplers'):
                x = b.downsamplers[0](x)
                skips.append(x)
        inner = None
        for b in self.up_blocks:
            for i in range(len(b.resnets)):
                x = b.step(i, torch.cat([x, skips.pop()], 1), t, context)
            inner = x if inner is None else inner
            if hasattr(b, 'upsamplers'):
                x = b.upsamplers[0](x)
        x = self.conv_out(F.silu(self.conv_norm_out(x)))
        return (x, inner) if features else x
