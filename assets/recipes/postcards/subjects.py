"""The fourteen subjects.  Each is drawn with its base at the origin, up = -y, about world.EXTENT pixels at scale 1.

Signature of all: (p: Painter, color or None, r: random stream of this object).  A subject's coloured area is large, so that
its colour is read at sight; nothing that matters is smaller than 6 pixels.
"""
import math

import cairo

from painter import CREAM, GOLD, LEAVES, NEEDLES, PAINT, SNOW, WOOD, luma, mix, scale


def roof_color(color):
    """A roof that stands out from the wall."""
    if luma(color) > .62:
        return (.62, .27, .20)
    return (.90, .84, .74) if luma(color) < .22 else (.31, .27, .33)


def house(p, color, r):
    wall, roof, tall = p.tint(color), p.tint(roof_color(color)), r.uniform(0, 7)
    smoke = r.random() < .6
    if smoke and (p.snowy or p.q['time'] in ('dawn', 'sunset')):
        for i, (x, y, size) in enumerate(((20, -66, 4.5), (24, -75, 6), (31, -84, 7.5))):
            p.c.set_source_rgba(*mix(p.sky[1], (1, 1, 1), .45), .62 - .14 * i)
            p.c.arc(x, y, size, 0, 2 * math.pi)
            p.c.fill()
    p.rect(13, -58, 9, 24, p.tint((.58, .38, .33)))
    p.rect(-27, -35, 54, 35, wall, to=scale(wall, .76))
    p.poly([(-35, -33), (0, -61 - tall), (35, -33)], roof, to=scale(roof, .78))
    if p.snowy:
        p.poly([(-35, -33), (0, -61 - tall), (35, -33), (26, -37), (0, -54 - tall), (-26, -37)], p.tint(SNOW), shadow=False)
    p.rect(-6, -21, 12, 21, p.tint(WOOD if luma(color) > .3 else (.78, .58, .38)), shadow=False)
    for x in (-15, 15):
        p.rect(x - 6.5, -26, 13, 13, p.tint(CREAM), to=p.tint(CREAM), shadow=False)
        p.rect(x - 4.7, -24.2, 9.4, 9.4, p.window(), to=p.window(), shadow=False)
        p.rect(x - .8, -25, 1.6, 11, p.tint(CREAM), to=p.tint(CREAM), shadow=False)
    p.circle(0, -43, 4.2, p.window(), to=p.window(), shadow=False)
    if p.lamps:
        p.glow(0, -18, 42, (1, .8, .4), .30)


def lighthouse(p, color, r):
    band, pale = p.tint(color), p.tint(CREAM if color != PAINT['white'] else (.70, .74, .82))
    side, tall = (1 if r.random() < .5 else -1), 82

    def half(y):
        return 14 - 6 * y / tall
    p.ellipse(0, 0, 21, 6, p.tint((.50, .48, .48)), shadow=False)
    for i in range(5):
        y0, y1 = tall * i / 5, tall * (i + 1) / 5
        tone = pale if i % 2 else band
        p.poly([(-half(y0), -y0), (half(y0), -y0), (half(y1), -y1), (-half(y1), -y1)], tone, to=scale(tone, .70),
               shadow=i == 0)
    p.rect(-11.5, -tall - 4, 23, 4.5, p.tint((.22, .22, .27)), shadow=False)
    p.rect(-6.5, -tall - 15, 13, 11.5, (1, .93, .58) if p.q['time'] != 'day' else p.tint((.78, .90, .95)), shadow=False)
    cap = band if luma(color) < .85 else p.tint((.32, .32, .38))
    p.poly([(-9.5, -tall - 14), (0, -tall - 26), (9.5, -tall - 14)], cap)
    p.rect(-4, -12, 8, 12, p.tint(WOOD), shadow=False)
    if p.lamps or p.q['weather'] == 'fog':
        y = -tall - 9
        g = cairo.LinearGradient(0, 0, side * 150, 0)
        g.add_color_stop_rgba(0, 1, .95, .7, .80)
        g.add_color_stop_rgba(1, 1, .95, .7, 0)
        p.c.set_source(g)
        p.c.move_to(0, y)
        p.c.line_to(side * 150, y - 28)
        p.c.line_to(side * 150, y + 20)
        p.c.close_path()
        p.c.fill()
        p.glow(0, y, 26, (1, .95, .65), .9)


def windmill(p, color, r):
    body, cloth, beam = p.tint(color), p.tint((.96, .93, .86)), p.tint((.38, .27, .21))
    p.poly([(-19, 0), (19, 0), (11, -54), (-11, -54)], body, to=scale(body, .72))
    c = p.c
    c.new_path()
    c.arc(0, -53, 12.5, math.pi, 0)
    c.close_path()
    p.fill(p.tint(roof_color(color)))
    p.rect(-5, -15, 10, 15, p.tint(WOOD), shadow=False)
    p.rect(-4, -36, 8, 9, p.window(), to=p.window(), shadow=False)
    c.save()
    c.translate(0, -56)
    c.rotate(r.uniform(.25, 1.32))
    for _ in range(4):
        c.rotate(math.pi / 2)
        p.rect(6, -11, 35, 11, cloth, to=cloth)
        for x in (15, 24, 33):
            p.line([(x, -10.5), (x, -.5)], 1.2, beam)
        p.line([(0, 0), (42, 0)], 3.2, beam)
    c.restore()
    p.circle(0, -56, 4, beam, shadow=False)


def castle(p, color, r):
    wall, dark = p.tint(color), scale(p.tint(color), .88)
    roof = p.tint((.36, .30, .46) if luma(color) > .22 else (.72, .26, .22))
    p.rect(-10, -72, 20, 45, dark, to=scale(dark, .72))
    p.rect(-31, -38, 62, 38, wall, to=scale(wall, .78))
    for i in range(5):
        p.rect(-21 + i * 9, -44, 6, 7, wall, to=wall, shadow=False)
    for x, tall, half in ((0, 72, 12), (-31, 56, 10), (31, 56, 10)):
        if x:
            p.rect(x - half + 1, -tall, 2 * half - 2, tall, dark, to=scale(dark, .72))
        p.poly([(x - half - 2, -tall), (x, -tall - 23), (x + half + 2, -tall)], roof, to=scale(roof, .72))
        if p.snowy:
            p.poly([(x - 6, -tall - 13), (x, -tall - 23), (x + 6, -tall - 13)], p.tint(SNOW), shadow=False)
        p.rect(x - 2.5, -tall + 8, 5, 10, p.window(), to=p.window(), shadow=False)
        p.line([(x, -tall - 22), (x, -tall - 32)], 1.4, p.tint(WOOD))
        p.poly([(x, -tall - 33), (x, -tall - 26), (x + 10, -tall - 29)], p.tint((.93, .32, .26)), shadow=False)
    c = p.c
    c.new_path()
    c.arc(0, -13, 9, math.pi, 0)
    c.line_to(9, 0)
    c.line_to(-9, 0)
    p.fill(p.tint((.24, .17, .16)), shadow=False)


def boat(p, color, r):
    sail, c = p.tint(color), p.c
    hull = p.tint((.44, .26, .17) if luma(color) > .33 else (.93, .89, .82))
    c.save()
    c.scale(1 if r.random() < .5 else -1, 1)
    p.line([(0, -66), (0, -8)], 2.4, p.tint(WOOD))
    p.curve([(3, -64), (19, -48), (29, -30), (33, -14), (20, -13), (12, -13), (3, -14)], sail, to=scale(sail, .78))
    light = mix(sail, (1, 1, 1), .16)
    p.curve([(-3, -57), (-10, -42), (-20, -28), (-24, -14), (-16, -13), (-9, -13), (-3, -14)], light, to=sail)
    p.poly([(0, -70), (0, -63), (-11, -66)], p.tint((.93, .35, .28)), shadow=False)
    p.curve([(-32, -10), (-10, -8), (15, -8), (36, -11), (31, 0), (24, 4), (14, 4),
             (2, 4), (-8, 4), (-18, 4), (-26, 2), (-30, -3), (-32, -10)], hull, to=scale(hull, .62), axis='y')
    p.line([(-30, -8.5), (-10, -6.5), (15, -6.5), (34, -9)], 2, p.tint(CREAM if luma(color) > .33 else WOOD))
    c.restore()


def balloon(p, color, r):
    silk, c = p.tint(color), p.c
    pale = p.tint(mix(color, (1, 1, 1), .58) if luma(color) < .8 else (.70, .75, .86))
    p.line([(-9, -26), (-5, -11)], 1.5, p.tint(WOOD))
    p.line([(9, -26), (5, -11)], 1.5, p.tint(WOOD))

    def envelope(w, tone):
        p.curve([(0, -88), (w * 1.34, -88), (w * 1.30, -48), (w * .28, -23), (w * .1, -22), (-w * .1, -22),
                 (-w * .28, -23), (-w * 1.30, -48), (-w * 1.34, -88), (0, -88)], tone, to=scale(tone, .74),
                shadow=w > 25)
    envelope(30, silk)
    envelope(20, pale)
    envelope(10.5, silk)
    p.rect(-6.5, -12, 13, 11, p.tint((.58, .38, .21)), shadow=False)
    p.rect(-7.5, -13, 15, 3.4, p.tint((.42, .27, .15)), shadow=False)
    if p.lamps:
        p.glow(0, -28, 30, (1, .78, .38), .50)


def cat(p, color, r):
    fur, c = p.tint(color if color != PAINT['brown'] else (.55, .35, .21)), p.c
    dark = scale(fur, .76)
    light = luma(color) < .45
    c.save()
    c.scale(1 if r.random() < .5 else -1, 1)
    p.line([(15, -6), (40, -2), (36, -24), (30, -34)], 8, dark)
    p.curve([(-19, 0), (-22, -26), (-14, -44), (0, -46), (15, -44), (26, -22), (21, 0), (8, 1), (-6, 1), (-19, 0)],
            fur, to=scale(fur, .80))
    if r.random() < .5:
        p.curve([(-9, -36), (-12, -24), (-9, -12), (0, -11), (8, -12), (10, -24), (6, -36), (2, -38), (-5, -38), (-9, -36)],
                mix(fur, p.tint((1, 1, 1)), .30), shadow=False)
    for x in (-9, 8):
        p.ellipse(x, -2, 8, 4.6, fur, shadow=False)
    for s in (-1, 1):
        p.poly([(s * 16 - 1, -53), (s * 15 - 1, -75), (s * 2 - 1, -62)], fur, to=dark, shadow=s < 0)
        p.poly([(s * 13 - 1, -58), (s * 12.6 - 1, -69), (s * 6 - 1, -62)], p.tint((.94, .63, .64)), shadow=False)
    p.ellipse(-1, -53, 18, 14.5, fur, to=scale(fur, .88))
    eye = (.55, .84, .34) if light else (.20, .42, .36)
    for s in (-1, 1):
        p.ellipse(s * 7.2 - 1, -54.5, 3.8, 4.4, eye, to=eye, shadow=False)
        p.ellipse(s * 7.2 - 1, -54.5, 1.6, 3.7, (.04, .04, .06), to=(.04, .04, .06), shadow=False)
    p.poly([(-4, -48), (2, -48), (-1, -44.8)], p.tint((.93, .48, .52)), shadow=False)
    for s in (-1, 1):
        for k in (-1, 1):
            p.line([(s * 7 - 1, -46 + k), (s * 23 - 1, -46.5 + k * 3.4)], 1., (1, 1, 1) if light else (.2, .15, .15), .6)
    c.restore()


def bird(p, color, r):
    body, c, lift = p.tint(color), p.c, r.uniform(0, 12)
    c.save()
    c.scale(1 if r.random() < .5 else -1, 1)
    p.curve([(3, -4), (-6, -18 - lift * .5), (-14, -28 - lift), (-30, -30 - lift), (-24, -14), (-18, -4), (-8, 2)],
            scale(body, .74), shadow=False)
    p.poly([(-14, 0), (-33, -6), (-29, 2), (-34, 8), (-13, 6)], scale(body, .82))
    p.ellipse(0, 1, 18, 8, body, to=scale(body, .80), axis='y')
    p.circle(16, -3, 7.2, body, to=scale(body, .86), axis='y', shadow=False)
    wing = mix(body, (1, 1, 1), .14)
    p.curve([(8, -1), (4, -20 - lift * .6), (0, -30 - lift), (-10, -40 - lift), (-14, -20), (-12, -6), (-8, 3)], wing,
            to=body)
    p.poly([(22, -5), (32, -1.5), (22, 1)], p.tint((.98, .68, .15)), shadow=False)
    p.circle(18, -4.4, 1.9, (.04, .04, .07) if luma(color) > .2 else (.96, .95, .9), shadow=False)
    c.restore()


def pine(p, color, r):
    tone, stretch = p.tint(color or NEEDLES[p.q['season']]), r.uniform(.92, 1.10)
    p.rect(-4, -15, 8, 15, p.tint(WOOD), shadow=False)
    for i in range(4):
        w, y = 25 - 5 * i, -10 - 15 * i * stretch
        c = scale(tone, .86 + .08 * i)
        top = y - 27 * stretch
        p.poly([(-w, y), (0, top), (w, y), (w * .4, y + 2.5), (-w * .4, y + 2.5)], c, to=scale(c, .68), shadow=i % 2 == 0)
        if p.snowy:
            p.poly([(-w * .62, y - 9.5 * stretch), (0, top), (w * .62, y - 9.5 * stretch), (w * .25, y - 14 * stretch),
                    (0, y - 9.5 * stretch), (-w * .25, y - 14 * stretch)], p.tint(SNOW), shadow=False)


def oak(p, color, r):
    leaves = LEAVES[p.q['season']]
    pick = r.randrange(6)
    tone, c = p.tint(color or leaves[pick % len(leaves)]), p.c
    p.poly([(-6, 0), (6, 0), (4, -32), (-4, -32)], p.tint((.40, .27, .19)))
    p.line([(0, -24), (13, -38)], 4, p.tint((.36, .24, .17)))
    crown = [(x + r.uniform(-2, 2), y + r.uniform(-2, 2), s + r.uniform(-1.5, 1.5)) for x, y, s in
             ((-17, -36, 14), (17, -37, 14), (0, -34, 15), (-10, -52, 15), (11, -53, 14), (0, -63, 12))]
    c.new_path()
    for x, y, s in crown:
        c.new_sub_path()
        c.arc(x, y, s, 0, 2 * math.pi)
    p.fill(scale(tone, .80), to=scale(tone, .66))
    for x, y, s in crown:
        p.circle(x - 2.5, y - 3, s * .74, scale(tone, 1.02), to=scale(tone, .86), shadow=False)
    for x, y, s in crown[3:]:
        p.circle(x - 5, y - 5.5, s * .36, scale(mix(tone, (1, 1, .9), .18), 1.04), shadow=False)


def palm(p, color, r):
    leaf, lean = p.tint(color or (.22, .57, .28)), r.uniform(-12, 12)
    p.line([(0, 0), (lean * .2, -25), (lean * .6, -46), (lean, -64)], 6.5, p.tint((.54, .39, .24)))
    for i, a in enumerate((-2.95, -.2, -2.35, -.8, -1.85, -1.3, 2.95, .2)):
        dx, dy = math.cos(a), math.sin(a)
        tip = (lean + dx * 35, -64 + dy * 21 + 14)
        p.curve([(lean, -64), (lean + dx * 13, -64 + dy * 22 - 8), (tip[0] - dx * 8, tip[1] - 15), tip,
                 (tip[0] - dx * 11, tip[1] - 5), (lean + dx * 13, -64 + dy * 15 + 5), (lean, -62)],
                scale(leaf, .84 if i % 2 else 1.04), shadow=i % 3 == 0)
    for x in (-3, 3.5):
        p.circle(lean + x, -60, 3.4, p.tint((.46, .29, .16)), shadow=False)


def mountain(p, color, r):
    rock = p.tint(color or (.42, .47, .62), .26)
    tall, half, x = r.uniform(88, 104), r.uniform(76, 92), r.uniform(-12, 12)
    j = [r.uniform(-6, 6) for _ in range(6)]
    foot = mix(rock, p.haze, .36)
    left, right = (-half * .30 + j[0], -tall * .58 + j[1]), (half * .34 + j[2], -tall * .56 + j[3])
    p.poly([(-half, 0), (-half * .62 + j[4], -tall * .36), left, (x, -tall), right, (half * .66, -tall * .30 + j[5]),
            (half, 0)], rock, to=foot, axis='y')
    shade = scale(rock, .74)
    p.poly([(x, -tall), right, (half * .66, -tall * .30 + j[5]), (half, 0), (half * .12, 0), (x + 13 + j[4], -tall * .40),
            (x - 2, -tall * .66)], shade, to=mix(shade, p.haze, .36), axis='y', shadow=False)
    a, b = .60, .62
    snow_l = (x + (left[0] - x) * a, -tall + (left[1] + tall) * a)
    snow_r = (x + (right[0] - x) * b, -tall + (right[1] + tall) * b)
    p.poly([snow_l, (x, -tall), snow_r, (x + 9, -tall * .79), (x + 2, -tall * .68), (x - 6, -tall * .78)], p.tint(SNOW, .06),
           to=p.tint((.84, .88, .97), .10), shadow=False)


def bridge(p, color, r):
    stone, c, half = p.tint(color), p.c, 80
    c.new_path()
    c.move_to(-half, 4)
    c.line_to(-half, -24)
    c.curve_to(-half * .45, -46, half * .45, -46, half, -24)
    c.line_to(half, 4)
    for x, w, h in ((54, 16, 22), (0, 25, 34), (-54, 16, 22)):
        c.line_to(x + w, 4)
        c.curve_to(x + w, -h, x - w, -h, x - w, 4)
    c.close_path()
    p.fill(stone, to=scale(stone, .70), axis='y')
    rail = scale(stone, .70) if luma(color) > .25 else scale(mix(stone, (1, 1, 1), .25), 1.)
    p.line([(-half, -33), (-half * .45, -55), (half * .45, -55), (half, -33)], 2.6, rail)
    p.line([(-half, -26), (-half * .45, -48), (half * .45, -48), (half, -26)], 3.4, mix(stone, (1, 1, 1), .25))
    for i in range(9):
        t = i / 8
        y = -26 * ((1 - t) ** 3 + t ** 3) - 48 * 3 * t * (1 - t)
        p.line([(half * (2 * t - 1), y), (half * (2 * t - 1), y - 7)], 2.4, rail)


def tent(p, color, r):
    cloth, c = p.tint(color), p.c
    side = 1 if r.random() < .5 else -1
    c.save()
    c.scale(side, 1)
    p.poly([(-10, -46), (26, -39), (42, 0), (14, 0)], scale(cloth, .70), to=scale(cloth, .58))
    p.poly([(-38, 0), (-10, -46), (14, 0)], cloth, to=scale(cloth, .84))
    inside = GOLD if p.lamps else p.tint((.20, .15, .15))
    p.poly([(-22, 0), (-10, -31), (-1, 0)], inside, to=inside, shadow=False)
    p.poly([(-22, 0), (-10, -31), (-17, 0)], mix(cloth, (1, 1, 1), .25), shadow=False)
    p.line([(-10, -46), (-10, -52)], 2, p.tint(WOOD))
    c.restore()
    if p.lamps:
        p.glow(-10 * side, -12, 40, (1, .8, .4), .42)


DRAW = {f.__name__: f for f in (house, lighthouse, windmill, castle, boat, balloon, cat, bird, pine, oak, palm, mountain,
                                bridge, tent)}
