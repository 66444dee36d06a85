"""Makes a state folder from a diffusers directory, so that training goes on from shipped weights.

    python3 restore.py STATE MODEL_DIR        writes STATE/text.pt and STATE/vae.pt; the UNet: train_unet.py --start-from MODEL_DIR
"""
import os
import sys

from safetensors.torch import load_file

from common import save_atomic


def weights(model, part, name):
    return {k: v.float() for k, v in load_file(os.path.join(model, part, name)).items()}


def main(state, model):
    os.makedirs(state, exist_ok=True)
    save_atomic(dict(model=weights(model, 'text_encoder', 'model.safetensors')), os.path.join(state, 'text.pt'))
    save_atomic(dict(model=weights(model, 'vae', 'diffusion_pytorch_model.safetensors')), os.path.join(state, 'vae.pt'))


if __name__ == '__main__':
    main(*sys.argv[1:])
