"""One prediction of a shipped network of tokens, as the test of the C program wants it.

    python3 check_tokens.py dit|rwkv MODEL_DIR

Latents sin(.37 i) for i = 0, 1, .. in the order row, column, channel; time 437.5; class 33.  Printed: the 16 channels of row 3,
column 5, and the root of the mean square of all.
"""
import json
import os
import sys

import torch
from safetensors.torch import load_file

from token_models import DiT, DiffRWKV


def main(kind, model):
    folder = os.path.join(model, 'transformer')
    with open(os.path.join(folder, 'config.json')) as f:
        net = dict(dit=DiT, rwkv=DiffRWKV)[kind](json.load(f)).eval()
    weights = load_file(os.path.join(folder, 'diffusion_pytorch_model.safetensors'))
    net.load_state_dict({k: v.float() for k, v in weights.items()})
    x = torch.sin(.37 * torch.arange(16 ** 3, dtype=torch.float64)).float().view(1, 16, 16, 16).permute(0, 3, 1, 2)
    with torch.no_grad():
        y = net(x, torch.tensor([437.5]), torch.tensor([33]))
    print(', '.join('%.6ff' % v for v in y[0, :, 3, 5].tolist()))
    print('%.6f' % y.square().mean().sqrt().item())


if __name__ == '__main__':
    main(*sys.argv[1:])
