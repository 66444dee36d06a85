"""Small tests of the recipe: python3 test_recipe.py (or pytest); needs numpy and cairo, and torch for the last ones."""
import random
import unittest

import numpy as np

import attributes
import maps
import world
from captions import caption
from render import render


class World(unittest.TestCase):
    def test_render_is_pure(self):
        for i in range(12):
            a, b = render(world.scene_at(i)), render(world.scene_at(i))
            self.assertEqual((a.shape, a.dtype), ((256, 256, 3), np.uint8))
            self.assertTrue((a == b).all())

    def test_layout_does_not_depend_on_style_time_weather_season(self):
        q = world.scene_at(3)
        for change in (dict(style='ink'), dict(time='night'), dict(weather='fog'), dict(season='winter')):
            self.assertEqual(world.layout(dict(q, **change))['objects'], q['objects'])

    def test_night_is_dark(self):
        for i in range(6):
            q = world.scene_at(i) | dict(style='poster', weather='clear')
            day, night = (render(world.layout(dict(q, time=t))).mean() for t in ('day', 'night'))
            self.assertGreater(day - night, 40)

    def test_scenes_are_possible_and_inside(self):
        for i in range(2000):
            q = world.scene_at(i)
            self.assertFalse(q['weather'] == 'rainbow' and q['time'] == 'night')
            for o in q['objects']:
                self.assertTrue(world.allowed(o['kind'], q['ground']))
                self.assertTrue(0 < o['x'] < world.SIZE and 0 < o['y'] < world.SIZE and o['scale'] > .2)

    def test_grids_hold_every_kind(self):
        for i in range(500):
            q = world.scene_at(i)
            presence, color = maps.grids(q, 8)
            drawn = {world.SUBJECTS.index(o['kind']) for o in q['objects']}
            self.assertEqual(set(np.flatnonzero(presence.any((1, 2)))), drawn)
            self.assertTrue(((color >= 0) == presence.any(0)).all())


class Captions(unittest.TestCase):
    def test_they_are_plain_sentences(self):
        for i in range(3000):
            text, said = caption(world.scene_at(i), random.Random(i))
            self.assertTrue(text and text.isascii() and '  ' not in text and text == text.strip(), text)
            self.assertEqual(said['groups'][0]['kind'], world.scene_at(i)['groups'][0]['kind'])

    def test_the_list_is_frozen(self):
        wanted = attributes.listed()
        self.assertEqual(len(wanted), 200)
        self.assertEqual(sum(bool(w['relation']) for w in wanted), 40)
        with open(attributes.LISTED[:-4] + 'txt') as f:
            self.assertEqual([w['prompt'] for w in wanted], f.read().splitlines())


class Networks(unittest.TestCase):
    def setUp(self):
        try:
            import torch
        except ImportError:
            self.skipTest('no torch')
        self.torch = torch

    def test_shapes(self):
        from models import AutoencoderTiny, CLIPTextModel, TEXT, UNet2DConditionModel
        t = self.torch
        with t.no_grad():
            vae, unet, text = AutoencoderTiny(), UNet2DConditionModel(), CLIPTextModel(dict(TEXT, vocab_size=600))
            self.assertEqual(vae.decoder(vae.encoder(t.zeros(1, 3, 64, 64))).shape, (1, 3, 64, 64))
            context = text(t.zeros(2, 77, dtype=t.long))
            self.assertEqual(unet(t.zeros(2, 16, 16, 16), t.zeros(2), context).shape, (2, 16, 16, 16))

    def test_all_weights_fit_twelve_megabytes(self):
        from models import AutoencoderTiny, CLIPTextModel, TEXT, UNet2DConditionModel
        nets = AutoencoderTiny(), UNet2DConditionModel(), CLIPTextModel(dict(TEXT, vocab_size=1750))
        self.assertLess(2 * sum(p.numel() for n in nets for p in n.parameters()), 11.9e6)


if __name__ == '__main__':
    unittest.main()
