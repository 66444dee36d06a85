"""Small tests of the recipe: python3 test_recipe.py (or pytest); needs numpy and cairo, and torch for the last ones."""
import json
import os
import random
import unittest

import numpy as np

import attributes
import maps
import pairs
import visible
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


class Pairs(unittest.TestCase):
    def test_variants_share_the_geometry_and_differ_as_said(self):
        for i in range(1500):
            scenes = pairs.variants(i)
            for q in scenes[1:]:
                self.assertEqual(q['objects'], scenes[0]['objects'])
                self.assertEqual(world.mend(dict(q)), q)
            for a in range(3):
                for b in range(3):
                    changed = pairs.difference(scenes[a], scenes[b])
                    self.assertEqual(len(changed) > 0, a != b)
                    text = pairs.instruction(random.Random(i), scenes[a], scenes[b])
                    self.assertTrue(text and '  ' not in text and text == text.strip(), text)

    def test_every_value_is_asked_for(self):
        seen = {(k, q[k]) for i in range(600) for q in pairs.variants(i)[1:] for k in pairs.VALUES}
        self.assertEqual(seen, {(k, v) for k, values in pairs.VALUES.items() for v in values})


class Visible(unittest.TestCase):
    def scene(self, behind):
        """A castle and a small tent; behind: the tent stands behind the castle's gate."""
        groups = [dict(kind=k, color=c, count=1, size=None) for k, c in (('castle', 'red'), ('tent', 'blue'))]
        q = world.random_scene(random.Random(1), style='poster', time='day', weather='clear', ground='meadow', groups=groups, relation='beside')
        castle, tent = q['objects']
        if behind:
            tent |= dict(x=castle['x'], y=castle['y'] - 2, scale=.3)
        return q

    def test_what_is_hidden_does_not_count(self):
        castle, tent = (world.SUBJECTS.index(k) for k in ('castle', 'tent'))
        self.assertEqual(visible.kinds(self.scene(False)), [castle, tent])
        self.assertEqual(visible.kinds(self.scene(True)), [castle])

    def test_only_the_object_itself_is_left_out(self):
        q = world.random_scene(random.Random(1), ground='sea', time='day', weather='clear', style='poster', relation=None,
                               groups=[dict(kind='lighthouse', color='red', count=1, size=None)])
        change, o = visible.differences(q)[0], q['objects'][0]
        self.assertGreater(change[int(o['y']) - 20, int(o['x'])], visible.LEVEL)
        beside = slice(0, int(o['x'] - 40 * o['scale']))
        self.assertFalse(change[:, beside].any())                               # its island stays
        self.assertTrue((render(q) != render(dict(q, objects=[])))[:, beside].any())

    def test_nearly_all_can_be_seen(self):
        scenes = [world.scene_at(i) for i in range(40)]
        self.assertGreater(sum(len(visible.kinds(q)) for q in scenes), .95 * sum(len(q['groups']) for q in scenes))


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

    def test_the_checker_sees_the_mirrored_scene(self):
        import checker
        t, index = self.torch, range(20)
        pixels, want = t.rand(20, 3, 128, 128), checker.targets(index)
        twin, other = checker.mirrored(pixels, want)
        self.assertTrue((twin[..., 0] == pixels[..., -1]).all())
        for i in index:
            q = world.scene_at(i)
            for g, group in enumerate(q['groups']):
                x = np.mean([world.SIZE - o['x'] for o in q['objects'] if o['group'] == g]) / world.SIZE
                k = world.SUBJECTS.index(group['kind'])
                self.assertAlmostEqual(other[3][i, k].item(), x, 5)
                self.assertTrue((other[4][i, k, :, 0] == want[4][i, k, :, -1]).all())
        self.assertTrue(((other[3] < 0) == (want[3] < 0)).all())
        self.assertTrue((other[5].flip(2) == want[5]).all())
        out = checker.Checker().eval()(pixels[:2])
        self.assertEqual((out['cells'].shape, out['present'].shape), ((2, 14, 16, 16), (2, 14)))
        self.assertGreater(checker.losses(out, [w[:2] for w in want]).item(), 0)

    def test_a_subject_is_right_among_the_strongest(self):
        import checker
        t = self.torch

        class Told(t.nn.Module):
            """Names the kinds of scenes 0.. truly, but for the first kind of scene `wrong`."""
            wrong = None

            def forward(self, x):
                present, color, count, place, cells, cell_color, scene = checker.targets(range(len(x)))
                if self.wrong is not None:
                    present[self.wrong, present[self.wrong].argmax()] = -1
                return dict(present=present, color=t.zeros(*color.shape, 11), count=t.zeros(*count.shape, 5), x=place,
                            scene=[t.nn.functional.one_hot(scene[:, i], 6) for i in range(scene.shape[1])])
        told, pixels = Told(), np.zeros((20, 128, 128, 3), np.uint8)
        seen = {i: visible.kinds(world.scene_at(i)) for i in range(20)}
        got = checker.accuracy(told, pixels, range(20), seen)
        self.assertEqual((got['subject'][0], got['visible'][0], got['pair'][0], got['time'][0]), (1, 1, 1, 1))
        told.wrong = next(i for i in range(20) if len(world.scene_at(i)['groups']) == 1)
        got = checker.accuracy(told, pixels, range(20), seen)
        self.assertAlmostEqual(got['subject'][0], 1 - 1 / got['subject'][1], 3)
        self.assertEqual(got['pair'][0], 1)
        del seen[told.wrong][:]
        self.assertEqual(checker.accuracy(told, pixels, range(20), seen)['visible'][0], 1)

    def test_the_bridge_is_small_and_ends_at_both_pictures(self):
        from models import UNet2DConditionModel
        from train_bridge import BRIDGE, bridge
        t = self.torch
        self.assertLess(2 * sum(p.numel() for p in UNet2DConditionModel(BRIDGE).parameters()), 4e6)
        a, b, e = (t.randn(2, 16, 4, 4) for _ in range(3))
        for time, end in ((0., a), (.999999, b)):
            x, u, alpha = bridge(a, b, t.full((2,), time), e)
            self.assertLess((x - end).abs().max().item(), .01)
        x, u, alpha = bridge(a, b, t.full((2,), .3), e)
        self.assertLess((x - .7 * u - b).abs().max().item(), 1e-5)
        self.assertTrue((alpha > 1).all())

    def test_all_weights_fit_twelve_megabytes(self):
        from models import AutoencoderTiny, CLIPTextModel, TEXT, UNet2DConditionModel
        nets = AutoencoderTiny(), UNet2DConditionModel(), CLIPTextModel(dict(TEXT, vocab_size=1750))
        self.assertLess(2 * sum(p.numel() for n in nets for p in n.parameters()), 11.9e6)

    def test_tokens_give_what_the_published_networks_give(self):
        from safetensors.torch import load_file
        from token_models import DiT, DiffRWKV
        fixtures = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../tests/golden/fixtures')
        for name, file, make in (('dit_diffusers', 'diffusion_pytorch_model', DiT), ('drwkv_cond', 'model', DiffRWKV),
                                 ('drwkv_uncond', 'model', DiffRWKV)):
            folder, io = os.path.join(fixtures, name), load_file(os.path.join(fixtures, name + '.io.safetensors'))
            with open(os.path.join(folder, 'config.json')) as f:
                net = make(json.load(f))
            net.load_state_dict(load_file(os.path.join(folder, file + '.safetensors')))
            x, time, label = ([io['in.' + n] for n in names if 'in.' + n in io] for names in (
                ('x', 'hidden_states'), ('timesteps', 'timestep'), ('labels', 'class_labels')))
            with self.torch.no_grad():
                y = net(x[0], time[0], label[0].long() if label else None)
            self.assertLess((y - io['out.sample']).abs().max(), 1e-4, name)

    def test_classes_have_one_meaning(self):
        from train_tokens import CLASSES, label
        names = [n for c in CLASSES for n in label(*c).split(', ')]
        self.assertEqual((len(CLASSES), len(names)), (75, len(set(names))))
        self.assertIn('cat in snow', names)


if __name__ == '__main__':
    unittest.main()
