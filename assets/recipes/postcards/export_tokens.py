"""Writes a state of train_tokens.py as a model directory, weights in f16; the autoencoder is that of the starter beside it.

    python3 export_tokens.py dit|rwkv STATE MODEL_DIR
"""
import os
import sys

import torch

from export import SCHEDULER, VERSION, put_json, put_weights
from token_models import DIT, RWKV
from train_tokens import CLASSES, label

WEIGHTS = 'diffusion_pytorch_model.safetensors'
# Guidance of all channels: the published code of RWKV guides three, as its latents have four.
CONFIGS = dict(dit=dict(DIT, _diffusers_version=VERSION), rwkv=dict(RWKV, guided_channels=0))


def index(kind):
    name, library = dict(dit=('DiTPipeline', 'diffusers'), rwkv=('DiffRWKVPipeline', 'gen'))[kind]
    return dict(_class_name=name, _diffusers_version=VERSION, gen=dict(num_inference_steps=20, guidance_scale=3.0),
                scheduler=['diffusers', 'FlowMatchEulerDiscreteScheduler'],
                transformer=[library, CONFIGS[kind]['_class_name']], vae='../postcards/vae',
                id2label={str(i): label(*c) for i, c in enumerate(CLASSES)})


def export(kind, state, model):
    trained = torch.load(os.path.join(state, kind + '.pt'), weights_only=True)
    folder = os.path.join(model, 'transformer')
    size = put_weights(folder, WEIGHTS, trained['model'])
    put_json(folder, 'config.json', CONFIGS[kind])
    put_json(os.path.join(model, 'scheduler'), 'scheduler_config.json', SCHEDULER)
    put_json(model, 'model_index.json', index(kind))
    print('%.2f MB after %d samples, %d core-seconds' % (size / 1e6, trained['seen'], trained['core_s']))


if __name__ == '__main__':
    export(*sys.argv[1:])
