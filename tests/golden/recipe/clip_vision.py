"""clip_vision.py FOLDER - makes the fixture clip_vision: a tiny image encoder of CLIP with random
weights, a picture, and all its hidden states, computed in double precision."""
import json
import math
import os
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

D, HEADS, LAYERS, MLP, SIDE, PATCH = 32, 2, 3, 48, 28, 7
PATCHES = (SIDE // PATCH) ** 2
ROOT = "vision_model."
generator = torch.Generator().manual_seed(11)
weights = {}


def deviates(*shape, scale=1.0):
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return (x * scale).float()


def add_norm(name):
    weights[name + ".weight"] = 1 + deviates(D, scale=0.1)
    weights[name + ".bias"] = deviates(D, scale=0.1)


def add_linear(name, outputs, inputs):
    weights[name + ".weight"] = deviates(outputs, inputs, scale=1.5 * inputs**-0.5)
    weights[name + ".bias"] = deviates(outputs, scale=0.1)


def layer_name(i):
    return f"{ROOT}encoder.layers.{i}."


def make_weights():
    embeddings = ROOT + "embeddings."
    weights[embeddings + "class_embedding"] = deviates(D)
    weights[embeddings + "patch_embedding.weight"] = deviates(
        D, 3, PATCH, PATCH, scale=(3 * PATCH * PATCH) ** -0.5
    )
    weights[embeddings + "position_embedding.weight"] = deviates(PATCHES + 1, D, scale=0.5)
    add_norm(ROOT + "pre_layrnorm")
    add_norm(ROOT + "post_layernorm")
    for i in range(LAYERS):
        b = layer_name(i)
        add_norm(b + "layer_norm1")
        add_norm(b + "layer_norm2")
        for k in "qkv":
            add_linear(b + f"self_attn.{k}_proj", D, D)
        add_linear(b + "self_attn.out_proj", D, D)
        add_linear(b + "mlp.fc1", MLP, D)
        add_linear(b + "mlp.fc2", D, MLP)


def weight(name):
    return weights[name].double()


def norm(x, name):
    return F.layer_norm(x, (D,), weight(name + ".weight"), weight(name + ".bias"), 1e-5)


def linear(x, name):
    return x @ weight(name + ".weight").T + weight(name + ".bias")


def attention(x, b):
    def heads(k):
        return linear(x, f"{b}{k}_proj").view(1, -1, HEADS, D // HEADS).transpose(1, 2)

    q, k, v = heads("q"), heads("k"), heads("v")
    scores = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(D // HEADS), -1)
    return linear((scores @ v).transpose(1, 2).reshape(1, -1, D), b + "out_proj")


def hidden_states(pixels):
    e = ROOT + "embeddings."
    x = F.conv2d(pixels.double(), weight(e + "patch_embedding.weight"), stride=PATCH)
    x = torch.cat([weight(e + "class_embedding").view(1, 1, D), x.flatten(2).transpose(1, 2)], 1)
    x = norm(x + weight(e + "position_embedding.weight"), ROOT + "pre_layrnorm")
    states = [x]
    for i in range(LAYERS):
        b = layer_name(i)
        x = x + attention(norm(x, b + "layer_norm1"), b + "self_attn.")
        h = linear(norm(x, b + "layer_norm2"), b + "mlp.fc1")
        x = x + linear(0.5 * h * (1 + torch.erf(h / math.sqrt(2))), b + "mlp.fc2")
        states.append(x)
    return states


def main():
    folder = sys.argv[1]
    model = os.path.join(folder, "clip_vision")
    os.makedirs(model, exist_ok=True)
    make_weights()
    pixels = deviates(1, 3, SIDE, SIDE)
    io = {"in.pixel_values": pixels}
    for i, x in enumerate(hidden_states(pixels)):
        io[f"out.hidden_states.{i}"] = x.float().contiguous()
    config = {
        "architectures": ["CLIPVisionModel"],
        "hidden_size": D,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "intermediate_size": MLP,
        "image_size": SIDE,
        "patch_size": PATCH,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
    }
    save_file(weights, os.path.join(model, "model.safetensors"))
    save_file(io, os.path.join(folder, "clip_vision.io.safetensors"))
    with open(os.path.join(model, "config.json"), "w") as f:
        json.dump(config, f, indent=1)


main()
