"""Writes the trained parts of a state folder as a diffusers directory, weights in f16.

    python3 export.py STATE MODEL_DIR [--unet unet]     MODEL_DIR/tokenizer must exist (tokenizer.py)
"""
import argparse
import json
import os

import torch
from safetensors.torch import save_file

import captions as c
from models import AutoencoderTiny, CLIPTextModel, TEXT, UNET, UNet2DConditionModel, VAE
from tokenizer import Tokenizer, BOS, EOS

VERSION = '0.35.0'
SCHEDULER = dict(_class_name='FlowMatchEulerDiscreteScheduler', _diffusers_version=VERSION, num_train_timesteps=1000, shift=3.0,
                 use_dynamic_shifting=False)
# "gen": what the program takes when it is told nothing; other software ignores it.
INDEX = dict(_class_name='StableDiffusionPipeline', _diffusers_version=VERSION,
             gen=dict(num_inference_steps=20, guidance_scale=3.0),
             feature_extractor=[None, None], image_encoder=[None, None], requires_safety_checker=False, safety_checker=[None, None],
             scheduler=['diffusers', 'FlowMatchEulerDiscreteScheduler'], text_encoder=['transformers', 'CLIPTextModel'],
             tokenizer=['transformers', 'CLIPTokenizer'], unet=['diffusers', 'UNet2DConditionModel'],
             vae=['diffusers', 'AutoencoderTiny'])


KNOWS = ('this model draws postcards: house, lighthouse, windmill, castle, boat, balloon, cat, bird, trees, mountain, bridge or tent '
         'by a lake or the sea, in a meadow, desert, snow or city')
# Parts of place and time phrases that do not by themselves name a place or a time.
VAGUE = set('the a at in by on as of and first light dark bright golden hour early glow rises sets under while field'.split())


def world_words():
    """For a program that tells the user when a prompt has nothing this model knows.

    subject_words: any one of them in a prompt makes it a prompt of this world (things, grounds, times).
    known_words: every word a caption may hold on purpose.
    """
    def phrases(*tables):
        return [p for t in tables for v in t.values() for p in v.split('|')]
    things = phrases(c.SUBJECT_WORDS, c.SUBJECT_NEAR)
    things = {p.split()[-1] for p in things} | {c.plural(p).split()[-1] for p in things} | set(c.PLURALS.values()) - {'torches'} | {'dinghies', 'volcanoes'}
    around = phrases(c.GROUND_WORDS, c.GROUND_NEAR, c.TIME_WORDS, c.TIME_NEAR)
    around = {w for p in around for w in p.split()} - VAGUE
    rest = phrases(c.COLOR_WORDS, c.COLOR_NEAR, c.WEATHER_WORDS, c.WEATHER_NEAR, c.SEASON_WORDS, c.STYLE_WORDS, c.STYLE_NEAR,
                   c.SIZE_WORDS, c.RELATION_WORDS) + [p for v in c.COUNT_WORDS.values() for p in v.split('|')]
    known = things | around | {w for p in rest + phrases(c.SUBJECT_WORDS, c.SUBJECT_NEAR) for w in p.split()} | {'one', 'field'}
    return dict(knows=KNOWS, subject_words=sorted(things | around), known_words=sorted(known))


def put_json(folder, name, value):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), 'w') as f:
        f.write(json.dumps(value, indent=2) + '\n')


def put_weights(folder, name, state):
    """f16, with the metadata that diffusers and transformers ask for; replaced in one step."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    save_file({k: v.to(torch.float16).contiguous() for k, v in state.items()}, path + '.part', metadata={'format': 'pt'})
    os.chmod(path + '.part', 0o644)
    os.replace(path + '.part', path)
    return os.path.getsize(path)


def main():
    a = argparse.ArgumentParser()
    a.add_argument('state')
    a.add_argument('model')
    a.add_argument('--unet', default='unet', help='name of the training state; a random network if there is none yet')
    a.add_argument('--vae', default='vae', help='name of the autoencoder state whose encoder and decoder are written')
    o = a.parse_args()
    ids = Tokenizer(os.path.join(o.model, 'tokenizer')).ids

    def state(name):
        return torch.load(os.path.join(o.state, name + '.pt'), weights_only=True)['model']
    text = dict(TEXT, vocab_size=len(ids), bos_token_id=ids[BOS], eos_token_id=ids[EOS], pad_token_id=ids[EOS], torch_dtype='float16')
    have_unet = os.path.exists(os.path.join(o.state, o.unet + '.pt'))
    torch.manual_seed(0)
    parts = [('vae', 'diffusion_pytorch_model.safetensors', AutoencoderTiny(), state(o.vae), VAE),
             ('text_encoder', 'model.safetensors', CLIPTextModel(text), state('text'), text),
             ('unet', 'diffusion_pytorch_model.safetensors', UNet2DConditionModel(), state(o.unet) if have_unet else None, UNET)]
    total = 0
    for folder, name, model, weights, config in parts:
        model.load_state_dict(weights or model.state_dict())
        folder = os.path.join(o.model, folder)
        total += put_weights(folder, name, model.state_dict())
        put_json(folder, 'config.json', dict(config, _diffusers_version=VERSION) if '_class_name' in config else config)
    put_json(os.path.join(o.model, 'scheduler'), 'scheduler_config.json', SCHEDULER)
    put_json(o.model, 'model_index.json', INDEX)
    put_json(o.model, 'world.json', world_words())
    print('%.2f MB of weights%s' % (total / 1e6, '' if have_unet else ' (the UNet is random)'))


if __name__ == '__main__':
    main()
