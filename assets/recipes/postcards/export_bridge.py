"""Writes a trained bridge as a model directory beside the starter's, whose autoencoder and text encoder it shares.

    python3 export_bridge.py STATE MODEL_DIR [--name bridge]
"""
import argparse
import os

import torch

import captions as c
import pairs
from export import VAGUE, VERSION, put_json, put_weights
from models import UNet2DConditionModel
from train_bridge import BRIDGE, NOISE, SHIFT

SCHEDULER = dict(_class_name='ViBTScheduler', num_train_timesteps=1000, noise_scale=NOISE, shift_gamma=SHIFT)
STARTER = '../postcards/'
# A text instead of a class is the path of a component that models share.
INDEX = dict(_class_name='BridgePipeline', gen=dict(num_inference_steps=8, guidance_scale=1.5),
             scheduler=['gen', 'ViBTScheduler'], unet=['diffusers', 'UNet2DConditionModel'],
             **{part: STARTER + part for part in ('text_encoder', 'tokenizer', 'vae')})
KNOWS = ('this model restyles pictures: as a poster, watercolor, paper cut, ink drawing, neon or pixel art; at dawn, by day, at '
         'sunset or at night; in a season or a weather')


def world_words():
    """subject_words: any one of them in a prompt makes it an instruction that the model knows."""
    tables = (c.STYLE_WORDS, c.STYLE_NEAR, pairs.STYLE_ASKED, c.TIME_WORDS, c.TIME_NEAR, c.WEATHER_WORDS, c.WEATHER_NEAR, c.SEASON_WORDS)
    words = {w for t in tables for v in t.values() for p in v.split('|') for w in p.split()} | set('snowing clouds daylight'.split())
    weak = (VAGUE - {'dawn', 'dark', 'golden'}) | set('an color line thick flat style with made painting drawing lights art it good weather day game and'.split())
    return dict(knows=KNOWS, subject_words=sorted(words - weak | {'day', 'noon'}))


def main():
    a = argparse.ArgumentParser()
    a.add_argument('state')
    a.add_argument('model')
    a.add_argument('--name', default='bridge')
    o = a.parse_args()
    unet = UNet2DConditionModel(BRIDGE)
    unet.load_state_dict(torch.load(os.path.join(o.state, o.name + '.pt'), weights_only=True)['model'])
    size = put_weights(os.path.join(o.model, 'unet'), 'diffusion_pytorch_model.safetensors', unet.state_dict())
    put_json(os.path.join(o.model, 'unet'), 'config.json', dict(BRIDGE, _diffusers_version=VERSION))
    put_json(os.path.join(o.model, 'scheduler'), 'scheduler_config.json', SCHEDULER)
    put_json(o.model, 'model_index.json', INDEX)
    put_json(o.model, 'world.json', world_words())
    print('%.2f MB of weights' % (size / 1e6))


if __name__ == '__main__':
    main()
