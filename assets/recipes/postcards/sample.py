"""Draws pictures with PyTorch, for looking at a model while the C program is not at hand.

    python3 sample.py MODEL_DIR OUT [--prompts FILE] [--count N] [--sheet FILE.png] [--guidance 3] [--steps 20]

One prompt a line; picture i (from 0) is OUT/0000.png .. with seed i+1.  Without --prompts the twelve fixed ones below.
"""
import argparse
import json
import os

import torch
from PIL import Image
from safetensors.torch import load_file

from models import AutoencoderTiny, CLIPTextModel, UNet2DConditionModel
from tokenizer import Tokenizer

FIXED = ['a red house by a lake at sunset', 'a white lighthouse by the sea at night', 'a black cat in the snow by day',
         'a yellow hot air balloon over a meadow at dawn', 'a blue sailboat on a lake by day, watercolor', 'a pine tree in the desert at sunset',
         'a purple castle in a meadow at night, neon', 'three pink houses in the city at sunset, paper cut', 'a green tent beside a pine tree in the snow at night',
         'a mountain behind a windmill in autumn at sunset', 'a stone bridge by a lake in autumn, ink drawing', 'two palm trees by the sea by day, pixel art']


class Model:
    def __init__(self, folder):
        def part(name, file, make):
            with open(os.path.join(folder, name, 'config.json')) as f:
                net = make(json.load(f))
            net.load_state_dict({k: v.float() for k, v in load_file(os.path.join(folder, name, file)).items()})
            return net.eval()
        self.text = part('text_encoder', 'model.safetensors', CLIPTextModel)
        self.unet = part('unet', 'diffusion_pytorch_model.safetensors', UNet2DConditionModel)
        self.vae = part('vae', 'diffusion_pytorch_model.safetensors', AutoencoderTiny)
        self.tokenizer = Tokenizer(os.path.join(folder, 'tokenizer'))
        with open(os.path.join(folder, 'scheduler/scheduler_config.json')) as f:
            self.shift = json.load(f)['shift']

    @torch.inference_mode()
    def latents(self, prompts, seeds, steps=20, guidance=3.):
        context = self.text(torch.tensor([self.tokenizer(p) for p in prompts] + [self.tokenizer('')] * len(prompts)))
        x = torch.stack([torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(s)) for s in seeds])
        u = torch.linspace(1, 1 / 1000, steps)
        sigmas = [*(self.shift * u / (1 + (self.shift - 1) * u)).tolist(), 0.]
        for s, to in zip(sigmas, sigmas[1:]):
            v, free = self.unet(torch.cat([x, x]), torch.full((2 * len(x),), 1000 * s), context).chunk(2)
            x = x + (to - s) * (free + guidance * (v - free))
        return x

    @torch.inference_mode()
    def decode(self, z):
        return ((self.vae.decoder(z) * .5 + .5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def main():
    a = argparse.ArgumentParser()
    a.add_argument('model')
    a.add_argument('out')
    a.add_argument('--prompts')
    a.add_argument('--count', type=int)
    a.add_argument('--sheet')
    a.add_argument('--steps', type=int, default=20)
    a.add_argument('--guidance', type=float, default=3.)
    a.add_argument('--threads', type=int, default=1)
    o = a.parse_args()
    torch.set_num_threads(o.threads)
    prompts = [line.strip() for line in open(o.prompts)] if o.prompts else FIXED
    prompts = prompts[:o.count]
    os.makedirs(o.out, exist_ok=True)
    model, pictures = Model(o.model), []
    for i in range(0, len(prompts), 8):
        part = prompts[i:i + 8]
        pictures += list(model.decode(model.latents(part, range(i + 1, i + 1 + len(part)), o.steps, o.guidance)))
    for i, p in enumerate(pictures):
        Image.fromarray(p).save(os.path.join(o.out, '%04d.png' % i))
    if o.sheet:
        wide = 6 if len(pictures) > 12 else 4
        sheet = Image.new('RGB', (wide * 258, -(-len(pictures) // wide) * 258), 'white')
        for i, p in enumerate(pictures):
            sheet.paste(Image.fromarray(p), (i % wide * 258, i // wide * 258))
        sheet.save(o.sheet)


if __name__ == '__main__':
    main()
