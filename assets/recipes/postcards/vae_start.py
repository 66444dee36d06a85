"""Starting weights of the autoencoder in closed form: a linear transform code laid into the ReLU network.

From random weights the bottleneck learns last and hours go by below the quality of a linear code.  Here the encoder begins
as a hierarchy of principal components: each stride-2 kernel maps 2x2 neighbours to their leading components, and offsets
(made from a channel that is constant 1) keep every feature positive, so that ReLU and residual blocks pass it unchanged.
The decoder begins as the least-squares way back, level by level.  Both then train end to end (train_vae.py).
"""
import torch
import torch.nn.functional as F

KEEP = {1: 12, 2: 28, 3: 26, 4: 24}       # components kept at 128, 64, 32, 16 pixels; the last channel is constant 1
FLOOR = 4.                                # offset in deviations of a component
TAIL = 2.6                                # |latent| at the 99.5 % quantile, inside the decoder's 3 tanh(z/3)


def blocks2(f):
    """[N,C,H,W] -> [N,4C,H/2,W/2], index (2 dy + dx) C + c."""
    return torch.cat([f[:, :, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)], 1)


def components(x, keep):
    """Principal components of the channel vectors of x: (basis [keep,C], mean [C], deviation [keep])."""
    v = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    mean = v.mean(0)
    d = (v - mean).double()
    values, vectors = torch.linalg.eigh(d.T @ d / len(d))
    return vectors.flip(1).T[:keep].float(), mean, values.flip(0)[:keep].clamp_min(1e-10).sqrt().float()


def set_encoder(encoder, x):
    """Writes the encoder; returns the features of each level (positive, with offset) and the latents."""
    layers = list(encoder.layers)
    convs = [m for m in layers if isinstance(m, torch.nn.Conv2d)]
    width, one = convs[0].weight.shape[0], convs[0].weight.shape[0] - 1
    for m in convs:
        m.weight.data.mul_(.02)
        if m.weight.shape[1] == width:
            m.weight.data[:, one] = 0
    convs[0].weight.data[[0, 1, 2, one]] = 0
    convs[0].bias.data.zero_()
    for c in range(3):
        convs[0].weight.data[c, c, 1, 1] = 1
    convs[0].bias.data[one] = 1
    f, features = x * .5 + .5, {}
    for level in range(1, 5):
        w = convs[level].weight.data
        raw = blocks2(f)
        if level == 1:
            basis, offset = torch.eye(12), torch.zeros(12)
        else:
            basis, mean, dev = components(raw, KEEP[level])
            basis = basis / (dev[:, None] * 2 * FLOOR) ** .5                       # half-whitened, so that no channel vanishes
            offset = FLOOR * dev * (basis.norm(dim=1)) - basis @ mean
        n_in = f.shape[1]
        w[:len(basis)] = 0
        for k, (dy, dx) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            w[:len(basis), :n_in, dy + 1, dx + 1] = basis[:, k * n_in:(k + 1) * n_in]
        w[:len(basis), one, 1, 1] = offset
        w[one] = 0
        w[one, one, 1, 1] = 1
        f = F.relu(torch.einsum('kc,nchw->nkhw', basis, raw) + offset[:, None, None])
        features[level] = f
    basis, mean, dev = components(f, 16)
    z = torch.einsum('kc,nchw->nkhw', basis, f - mean[:, None, None])
    scale = torch.minimum(1 / dev, TAIL / torch.quantile(z.abs().transpose(0, 1).flatten(1)[:, ::3].contiguous(), .995, dim=1))
    out = convs[5]
    out.weight.data.zero_()
    out.weight.data[:, :f.shape[1], 1, 1] = basis * scale[:, None]
    out.bias.data = -(basis * scale[:, None]) @ mean
    return features, z * scale[:, None, None]


def regress(source, target, ridge=1e-4):
    """Least-squares 3x3 kernel and bias from source [N,C,H,W] to target [N,K,H,W]."""
    c = source.shape[1]
    xx = torch.zeros(9 * c + 1, 9 * c + 1, dtype=torch.float64)
    xy = torch.zeros(9 * c + 1, target.shape[1], dtype=torch.float64)
    for s, t in zip(source.split(4), target.split(4)):
        x = F.unfold(s, 3, padding=1).transpose(1, 2).reshape(-1, 9 * c)
        x = torch.cat([x, torch.ones(len(x), 1)], 1).double()
        y = t.permute(0, 2, 3, 1).reshape(len(x), -1).double()
        xx += x.T @ x
        xy += x.T @ y
    n = xx[-1, -1]
    w = torch.linalg.solve(xx / n + ridge * torch.diag(xx.diagonal() / n), xy / n).float()
    return w[:-1].T.reshape(-1, c, 3, 3).contiguous(), w[-1]


def set_decoder(decoder, features, z, picture):
    """Writes the decoder: latents -> level 4 -> 3 -> 2 -> 1 -> picture, each by regression on what the level before gives."""
    convs = [m for m in decoder.layers if isinstance(m, torch.nn.Conv2d)]
    width = convs[0].weight.shape[0]
    one = width - 1
    f = torch.tanh(z / 3) * 3
    for i, target in enumerate([features[4], features[3], features[2], features[1], picture * .5 + .5]):
        conv, k = convs[i], target.shape[1]
        w = conv.weight.data
        w.mul_(.02)
        if i:
            f = F.interpolate(torch.cat([f, torch.ones_like(f[:, :1])], 1), scale_factor=2)
        kernel, bias = regress(f[::1 if i < 3 else 3 * i - 6], target[::1 if i < 3 else 3 * i - 6], 1e-5)
        w[:k] = 0
        if i == 0:
            w[:k], w[one] = kernel, 0
            conv.bias.data.zero_()
            conv.bias.data[:k], conv.bias.data[one] = bias, 1
            f = F.relu(F.conv2d(f, kernel, bias, padding=1))
        else:
            n_in = f.shape[1] - 1
            w[:, one] = 0
            w[:k, :n_in], w[:k, one] = kernel[:, :n_in], kernel[:, n_in]
            w[:k, one, 1, 1] += bias
            w[one], w[one, one, 1, 1] = 0, 1
            # kernel[:, n_in] is the constant's own kernel: it mends the zero padding at the border
            f = F.conv2d(f, kernel, bias, padding=1)
            f = F.relu(f) if i < 4 else f
    last = convs[5]
    last.weight.data.zero_()
    for c in range(3):
        last.weight.data[c, c, 1, 1] = 1
    last.bias.data.zero_()


@torch.no_grad()
def start(model, x):
    """Sets the weights of model from the pictures x [N,3,256,256] in [-1,1]."""
    for m in model.modules():
        if hasattr(m, 'conv') and hasattr(m.conv, '__len__'):
            m.conv[-1].weight.zero_()                                              # blocks begin as the identity
    features, z = set_encoder(model.encoder, x)
    few = slice(0, 60)
    set_decoder(model.decoder, {k: v[few] for k, v in features.items()}, z[few], x[few])
    return z
