"""render(scene) -> uint8 [256,256,3]: sky, land, water, objects, weather, then the style pass.

Every part draws its random numbers from a stream named after the scene's seed and the part, so the layout does not depend
on style, time, weather or season: the same scene in another season has the same hills.

    python3 render.py [seed] [count] [style]    writes sheet.png and prints the captions
"""
import math
import random

import cairo
import numpy as np

import styles
from painter import CREAM, GOLD, GRASS, PAINT, Painter, SNOW, mix, scale
from subjects import DRAW
from world import SIZE, WATER_GROUNDS

SUN_SHOWS = {'clear': 1., 'rainbow': .9, 'cloudy': .45, 'fog': .45, 'snowfall': .25, 'rain': 0.}
WATER_TONE = {'blue': (.12, .36, .70), 'turquoise': (.10, .62, .66), 'green': (.20, .47, .33)}


class Scene:
    def __init__(self, q):
        self.q, self.p = q, Painter(q)
        self.c, self.ys = self.p.c, q['horizon']
        self.sun = SUN_SHOWS[q['weather']]
        self.sun_y = self.ys - {'dawn': 24, 'day': 112, 'sunset': 22, 'night': 110}[q['time']]
        self.grass = GRASS[q['season']]

    def stream(self, name):
        return random.Random('%d/%s' % (self.q['seed'], name))

    def sprite(self, kind, color, x, y, size, seed, depth, flip=False):
        c = self.c
        c.save()
        c.translate(x, y)
        c.scale(size, -size * .8 if flip else size)
        self.p.depth = depth
        DRAW[kind](self.p, PAINT.get(color), random.Random(seed))
        self.p.depth = 0.
        c.restore()

    def object(self, o, depth=.06, flip=False):
        y = o['y'] + (4 * o['scale'] if flip else 0)
        self.sprite(o['kind'], o['color'], o['x'], y, o['scale'], o['seed'], depth, flip)

    def objects(self, *places):
        return sorted((o for o in self.q['objects'] if o['place'] in places), key=lambda o: (o['place'] != 'sky', o['y']))

    def draw(self):
        q, water = self.q, self.q['ground'] in WATER_GROUNDS
        self.heaven()
        if q['weather'] == 'rainbow':
            self.rainbow()
        self.clouds()
        self.far_land()
        for o in self.objects('far'):
            self.object(o, .3)
        if q['ground'] == 'city':
            self.skyline()
        self.shore() if water else self.land()
        for o in self.objects('sky', 'land'):
            if o['place'] == 'land' and not water:
                self.contact_shadow(o)
            self.object(o)
        if water:
            self.water()
            for o in self.objects('water'):
                self.c.push_group()
                self.object(o, flip=True)
                self.c.pop_group_to_source()
                self.c.paint_with_alpha(.30)
                self.object(o)
            self.bank()
        for o in self.objects('front'):
            if not water:
                self.contact_shadow(o)
            self.object(o, 0.)
        self.weather()
        self.p.surface.flush()
        return styles.apply(q['style'], self.p.pixels[:, :, 2::-1], q['seed'])

    # ---- sky

    def heaven(self):
        q, p, c, r = self.q, self.p, self.c, self.stream('sky')
        g = cairo.LinearGradient(0, 0, 0, self.ys)
        for t, tone in zip((0, .58, 1), p.sky):
            g.add_color_stop_rgb(t, *tone)
        c.set_source(g)
        c.paint()
        x, y, shows = q['sun_x'], self.sun_y, self.sun
        stars = [(r.uniform(0, SIZE), r.uniform(0, self.ys * .85), r.uniform(.6, 1.5), r.random()) for _ in range(46)]
        if q['time'] == 'night':
            for sx, sy, size, bright in stars[:int(46 * shows)]:
                c.set_source_rgba(1, 1, .93, .4 + .6 * bright)
                c.arc(sx, sy, size, 0, 2 * math.pi)
                c.fill()
            if shows > .2:
                p.glow(x, y, 60, (.85, .9, 1.), .55 * shows)
                p.circle(x, y, 15, mix(p.sky[1], (.98, .97, .86), .35 + .65 * shows), shadow=False)
                if q['crescent']:
                    p.circle(x - 7, y - 3, 12.5, mix(p.sky[0], p.sky[1], .5), to=mix(p.sky[0], p.sky[1], .5), shadow=False)
        elif shows > 0:
            tone = {'dawn': (1., .88, .70), 'day': (1., .97, .72), 'sunset': (1., .80, .40)}[q['time']]
            p.glow(x, y, 84 if q['time'] == 'day' else 120, tone, .85 * shows)
            face = mix(p.sky[2], mix(tone, (1, 1, 1), .35), .4 + .6 * shows)
            p.circle(x, y, 15 if q['time'] == 'day' else 18, face, to=mix(face, tone, .5), axis='y', shadow=False)

    def rainbow(self):
        for i, tone in enumerate(((.90, .22, .25), (.97, .55, .2), (.98, .88, .3), (.3, .75, .35), (.25, .5, .9), (.52, .3, .72))):
            self.c.set_source_rgba(*tone, .66)
            self.c.set_line_width(5.6)
            self.c.arc(self.q['bow_x'], self.ys + 12, 132 - i * 5.2, math.pi, 2 * math.pi)
            self.c.stroke()

    def clouds(self):
        q, p, r = self.q, self.p, self.stream('clouds')
        count = {'clear': 2, 'rainbow': 2, 'cloudy': 7, 'rain': 8, 'snowfall': 5, 'fog': 2}[q['weather']]
        tone = {'dawn': (1., .88, .88), 'day': (1, 1, 1), 'sunset': (.99, .66, .55), 'night': (.27, .32, .50)}[q['time']]
        if q['weather'] == 'rain':
            tone = scale(mix(tone, p.sky[0], .55), .80)
        elif q['weather'] in ('cloudy', 'snowfall'):
            tone = mix(tone, p.sky[1], .25)
        for i in range(8):
            x, y, size = r.uniform(-10, SIZE + 10), r.uniform(12, self.ys * .55), r.uniform(.75, 1.3)
            size *= 1.35 if q['weather'] in ('cloudy', 'rain') else 1.
            puffs = [(dx + r.uniform(-4, 4), dy + r.uniform(-2, 2), s) for dx, dy, s in
                     ((-21, 4, 9), (-9, -3, 12), (7, -5, 14), (21, 3, 9))]
            if i >= count:
                continue
            for drop, c in ((3.4, mix(tone, p.sky[1], .42)), (0, tone)):
                self.c.new_path()
                for dx, dy, s in puffs:
                    self.c.new_sub_path()
                    self.c.arc(x + dx * size, y + (dy + drop) * size, s * size, 0, 2 * math.pi)
                self.c.new_sub_path()
                self.c.rectangle(x - 17 * size, y + (1 + drop) * size, 34 * size, 11.5 * size)
                p.fill(c, to=mix(c, p.sky[1], .18), axis='y', shadow=drop > 0)

    # ---- land

    def far_land(self):
        q, p, r, ys = self.q, self.p, self.stream('far'), self.ys
        island = r.random() < .4
        rock = (.44, .49, .63)
        a, b = {'desert': ((.76, .52, .38), (.84, .60, .40)), 'snow': ((.62, .70, .85), (.78, .84, .93)),
                'city': ((.47, .51, .63), (.52, .56, .64))}.get(q['ground'], (rock, mix(self.grass, rock, .45)))
        if q['ground'] == 'sea':
            if island:
                p.ridge(ys - 2, 10, p.tint(rock, .8), p.tint(rock, .95), r, .6)
            return
        p.ridge(ys - 24, 17, p.tint(a, .78), p.tint(a, 1.), r, .6)
        p.ridge(ys - 11, 11, p.tint(b, .52), p.tint(b, .72), r)

    def skyline(self):
        p, r, ys = self.p, self.stream('city'), self.ys
        for row in (0, 1):
            x = -8.
            while x < SIZE:
                w, h, v = r.uniform(16, 30), r.uniform(26, 84) * (1 - .35 * row), r.random()
                wall = p.tint(mix((.40, .43, .57), (.64, .50, .48), v), .62 - .36 * row)
                p.rect(x, ys - h + 8, w, h + 12, wall, to=mix(wall, p.haze, .30), axis='y')
                for wy in range(int(ys - h + 14), ys, 11):
                    for k in range(int((w - 5) / 8)):
                        shown = r.random()
                        if row and (shown < .6 or not p.lamps):
                            tone = GOLD if p.lamps else mix(wall, (.85, .93, 1), .32)
                            p.rect(x + 4 + 8 * k, wy, 4.2, 6, tone, to=tone, shadow=False)
                x += w + r.uniform(-1, 4)

    def trees(self, name, count, y, spread, low, high, depth):
        r = self.stream(name)
        for _ in range(count):
            x, kind, t = r.uniform(0, SIZE), 'pine' if r.random() < .6 else 'oak', r.random()
            self.sprite(kind, None, x, y + spread * t, low + (high - low) * t, r.randrange(1 << 20), depth)

    def land(self):
        q, p, r, ys = self.q, self.p, self.stream('ground'), self.ys
        frosted = (.74, .80, .66)              # a winter meadow is not a snow field: hoar frost on grass
        base = {'meadow': frosted if q['season'] == 'winter' else self.grass, 'snow': (.93, .95, .99),
                'desert': (.95, .77, .48), 'city': (.62, .60, .60)}[q['ground']]
        if q['ground'] == 'city' and q['season'] == 'winter':
            base = (.84, .86, .90)
        wave = .5 if q['ground'] == 'city' else 7
        p.ridge(ys + 5, wave * .7, p.tint(scale(base, .94), .34), p.tint(scale(base, .92), .15), r)
        if q['ground'] in ('meadow', 'snow'):
            self.trees('grove', 8, ys + 10, 5, .22, .32, .45)
        p.ridge(ys + 26, wave, p.tint(base, .10), p.tint(scale(base, .90)), r)
        p.ridge(ys + 62, wave, p.tint(scale(base, .95)), p.tint(scale(base, .74)), r)
        {'meadow': self.meadow, 'snow': self.snow, 'desert': self.desert, 'city': self.street}[q['ground']](base)

    def path(self, tone):
        """A winding path from the foreground to the middle distance."""
        r, ys = self.stream('path'), self.ys
        shown, x0, x1 = r.random() < .45, r.uniform(60, 196), r.uniform(90, 166)
        if shown:
            self.p.curve([(x0 - 22, SIZE + 2), (x0 + 6, ys + 82), (x1 - 30, ys + 72), (x1, ys + 40),
                          (x1 - 16, ys + 76), (x0 + 40, ys + 84), (x0 + 24, SIZE + 2)], tone, to=tone, shadow=False)

    def meadow(self, base):
        q, p, c, r, ys = self.q, self.p, self.c, self.stream('flowers'), self.ys
        self.path(p.tint(SNOW if q['season'] == 'winter' else (.86, .76, .56)))
        first = r.randrange(4)
        spots = [(r.uniform(0, SIZE), r.uniform(ys + 44, SIZE - 3)) for _ in range(44)]
        if q['season'] in ('spring', 'summer'):
            tones = [(1, 1, 1), (.98, .85, .25), (.93, .35, .45), (.75, .55, .9)]
            for i, (x, y) in enumerate(spots[:44 if q['season'] == 'spring' else 22]):
                c.set_source_rgb(*p.tint(tones[(first + i % 2) % 4]))
                c.arc(x, y, 1. + 1.8 * (y - ys - 40) / 76, 0, 2 * math.pi)
                c.fill()

    def snow(self, base):
        q, p, ys = self.q, self.p, self.ys
        r = self.stream('drifts')
        for _ in range(5):
            x, y, w = r.uniform(0, SIZE), r.uniform(ys + 44, SIZE), r.uniform(26, 60)
            p.line([(x - w, y), (x - w * .3, y - 5), (x + w * .3, y - 5), (x + w, y + 1)], 2.2, p.tint((.76, .82, .93)), .55)
        if q['time'] == 'night' and self.sun > .3:
            p.glow(q['sun_x'], ys + 66, 70, (.85, .9, 1.), .30)

    def desert(self, base):
        p, r, ys = self.p, self.stream('dunes'), self.ys
        phase = r.uniform(0, 6)
        for i in range(7):
            y = ys + 40 + i * 12
            p.line([(x, y + 3 * math.sin(x * .05 + i * 1.7 + phase)) for x in range(0, SIZE + 16, 12) if x != 36], 1.6,
                   p.tint((.74, .52, .30)), .40)
        for _ in range(2):
            x, size = r.choice([r.uniform(8, 46), r.uniform(210, 248)]), r.uniform(.6, .95)
            y, tone = ys + 34 + 20 * size, p.tint((.28, .52, .30), .1)
            for pts in ([(0, 0), (0, -36)], [(0, -14), (12, -16), (12, -28)], [(0, -19), (-11, -21), (-11, -31)]):
                p.line([(x + dx * size, y + dy * size) for dx, dy in pts], 8 * size, tone)

    def street(self, base):
        q, p, ys = self.q, self.p, self.ys
        p.rect(0, ys + 66, SIZE, 30, p.tint((.31, .32, .38)), shadow=False)
        shift = self.stream('street').randrange(26)
        for x in range(-26, SIZE, 36):
            p.rect(x + shift, ys + 79, 18, 3.4, p.tint((.95, .92, .8)), shadow=False)
        for x in (22, 234):
            p.line([(x, ys + 62), (x, ys + 14)], 2.6, p.tint((.18, .18, .22)))
            p.circle(x, ys + 12, 4.4, (1, .92, .62) if p.lamps else p.tint(CREAM), shadow=False)
            if p.lamps:
                p.glow(x, ys + 12, 26, (1, .85, .5), .7)

    def contact_shadow(self, o):
        c, s = self.c, o['scale']
        wide = {'lighthouse': 22, 'castle': 46, 'tent': 42, 'cat': 32, 'palm': 16, 'pine': 20, 'oak': 22}.get(o['kind'], 34)
        c.save()
        c.translate(o['x'] + 6 * s, o['y'])
        c.scale(wide * s, 5 * s)
        g = cairo.RadialGradient(0, 0, .2, 0, 0, 1)
        g.add_color_stop_rgba(0, 0, 0, .05, .34)
        g.add_color_stop_rgba(1, 0, 0, .05, 0)
        c.set_source(g)
        c.arc(0, 0, 1, 0, 2 * math.pi)
        c.fill()
        c.restore()

    # ---- water

    def shore(self):
        q, p, ys = self.q, self.p, self.ys
        if q['ground'] == 'lake':
            p.ridge(ys - 4, 3.5, p.tint(scale(self.grass, .9), .22), p.tint(scale(self.grass, .8), .1), self.stream('ground'))
            self.trees('grove', 11, ys - 2, 1, .26, .44, .36)
            return
        p.rect(0, ys, SIZE, SIZE - ys, p.tint((.2, .4, .6), .3), shadow=False)
        for o in self.objects('land'):
            if o['kind'] == 'bridge':
                continue
            tone = p.tint((.90, .93, .97) if p.snowy else mix(self.grass, (.56, .50, .44), .40), .08)
            w, x, y = 64 * o['scale'] * .8 + 18, o['x'], o['y']
            p.curve([(x - w, ys + 2), (x - w * .7, y), (x - w * .5, y - 1), (x, y - 2), (x + w * .5, y - 1),
                     (x + w * .7, y), (x + w, ys + 2)], tone, to=scale(tone, .62), axis='y')

    def water(self):
        """Mirrors the rows above the shore, rippled, under the water's own colour (a pass over whole rows)."""
        q, p, ys = self.q, self.p, self.ys
        p.surface.flush()
        n = SIZE - ys
        rows = np.arange(n)
        phase = self.stream('ripple').uniform(0, 6)
        source = np.clip(ys - 1 - (rows * .96).astype(int), 0, ys - 1)
        sway = ((.6 + rows * .045) * np.sin(.9 * rows + phase + 2.2 * np.sin(.23 * rows))).astype(int)
        x = (np.arange(SIZE)[None] + sway[:, None]).clip(0, SIZE - 1)
        mirror = p.pixels[source[:, None], x, :3].astype(np.float32)
        own = WATER_TONE[q['water']]
        own = mix(p.tint(own, .05), own, .15 if q['time'] == 'night' else .45)
        t = (rows / n).astype(np.float32)[:, None, None]
        share = .46 + .28 * t if not p.flat else .54 + .2 * t
        tone = np.array(own[::-1], np.float32) * 255 * (1.10 - .42 * t)
        out = mirror * (1 - share) * .96 + tone * share
        p.pixels[ys:, :, :3] = out.clip(0, 255).astype(np.uint8)
        p.surface.mark_dirty()
        self.sparkle(n)

    def sparkle(self, n):
        q, p, r, ys = self.q, self.p, self.stream('sparkle'), self.ys
        light = mix(p.sky[2], (1, 1, 1), .5)
        for _ in range(18):
            t, x, w = r.random() ** 1.3, r.uniform(0, SIZE), r.uniform(.6, 1.4)
            y, w = ys + 3 + (n - 6) * t, 3 + 15 * t * w
            p.line([(x - w, y), (x + w, y)], 1.3 + t, light, .24)
        if self.sun > .3 and q['time'] != 'day':
            tone = (.9, .93, 1.) if q['time'] == 'night' else (1., .82, .5)
            for i in range(14):
                y, w, x = ys + 3 + i * (n - 4) / 14, (4 + .9 * i) * r.uniform(.5, 1.2), q['sun_x'] + r.uniform(-3, 3)
                p.line([(x - w, y), (x + w, y)], 2.4, tone, .55 * self.sun * (1 - i / 24))

    def bank(self):
        q, p, r = self.q, self.p, self.stream('bank')
        front = bool(self.objects('front'))
        if not (q['bank'] or front):
            return
        tone = (.88, .91, .96) if p.snowy else (.88, .78, .57) if q['ground'] == 'sea' else scale(self.grass, .78)
        p.ridge(SIZE - (36 if front else 20), 5, p.tint(tone), p.tint(scale(tone, .66)), r)
        if q['ground'] == 'lake':
            reed = p.tint((.58, .52, .42) if p.snowy else scale(self.grass, .48))
            for _ in range(10):
                x = r.choice([r.uniform(0, 50), r.uniform(206, SIZE)])
                bend, top = r.uniform(-7, 7), SIZE - 28 - r.uniform(0, 18)
                p.line([(x, SIZE), (x, SIZE - 20), (x + bend * .5, SIZE - 26), (x + bend, top)], 2.2, reed)

    # ---- weather

    def weather(self):
        q, p, c, ys, r = self.q, self.p, self.c, self.ys, self.stream('weather')
        if q['weather'] == 'fog':
            for y, a in ((ys - 26, .38), (ys + 6, .58), (ys + 38, .40)):
                g = cairo.LinearGradient(0, y - 32, 0, y + 32)
                g.add_color_stop_rgba(0, *p.haze, 0)
                g.add_color_stop_rgba(.5, *p.haze, a)
                g.add_color_stop_rgba(1, *p.haze, 0)
                c.set_source(g)
                c.rectangle(0, y - 32, SIZE, 64)
                c.fill()
        elif q['weather'] == 'rain':
            for _ in range(54):
                x, y, length = r.uniform(-10, SIZE), r.uniform(-10, SIZE), r.uniform(14, 24)
                p.line([(x, y), (x - length * .28, y + length)], 1.7, (.86, .90, .97), .30 if q['time'] == 'night' else .42)
        elif q['weather'] == 'snowfall':
            c.set_source_rgba(1, 1, 1, .92)
            for _ in range(60):
                c.new_sub_path()
                c.arc(r.uniform(0, SIZE), r.uniform(0, SIZE), r.uniform(1.4, 3.2), 0, 2 * math.pi)
            c.fill()


def render(q):
    return Scene(q).draw()


def main():
    import sys
    import time
    from PIL import Image
    from captions import caption
    from world import random_scene
    seed, count = int(sys.argv[1] if len(sys.argv) > 1 else 1), int(sys.argv[2] if len(sys.argv) > 2 else 24)
    fixed = {'style': sys.argv[3]} if len(sys.argv) > 3 else {}
    r, start, wide = random.Random(seed), time.process_time(), 6
    sheet = Image.new('RGB', (wide * 258, -(-count // wide) * 258), 'white')
    for i in range(count):
        q = random_scene(r, **fixed)
        sheet.paste(Image.fromarray(render(q)), (i % wide * 258, i // wide * 258))
        print(caption(q, r)[0])
    print('%.1f ms a picture' % ((time.process_time() - start) / count * 1000))
    sheet.save('sheet.png')


if __name__ == '__main__':
    main()
