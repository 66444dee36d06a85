"""Colours, light, and shapes with a lit and a shaded side, on a cairo surface of 256x256 pixels."""
import math

import cairo
import numpy as np

from world import SIZE

PAINT = {'red': (.84, .16, .15), 'orange': (.96, .52, .12), 'yellow': (.98, .83, .20), 'green': (.22, .62, .28),
         'blue': (.15, .40, .84), 'purple': (.52, .25, .68), 'pink': (.97, .56, .72), 'white': (.97, .96, .93),
         'black': (.12, .12, .15), 'brown': (.50, .30, .17)}
SKY = {'dawn': [(.42, .50, .78), (.88, .70, .82), (1., .84, .74)],
       'day': [(.20, .52, .86), (.50, .76, .95), (.86, .94, .97)],
       'sunset': [(.27, .20, .46), (.88, .40, .38), (1., .76, .40)],
       'night': [(.03, .05, .17), (.08, .13, .33), (.20, .27, .50)]}
AMBIENT = {'dawn': (1., .90, .93), 'day': (1., 1., 1.), 'sunset': (1., .80, .70), 'night': (.50, .56, .84)}
OVERCAST = {'dawn': (.72, .68, .74), 'day': (.70, .76, .80), 'sunset': (.66, .52, .52), 'night': (.16, .19, .30)}
GREY = {'cloudy': .45, 'rain': .75, 'snowfall': .55, 'fog': .50}           # share of overcast in the sky
THICK = {'fog': 1., 'rain': .5, 'snowfall': .5}                            # haze per depth; .28 in clear air
GRASS = {'spring': (.54, .76, .33), 'summer': (.32, .60, .27), 'autumn': (.76, .57, .25), 'winter': (.90, .93, .97)}
LEAVES = {'spring': [(.56, .79, .36), (.97, .72, .82), (.64, .83, .42)], 'summer': [(.21, .51, .22), (.28, .58, .25)],
          'autumn': [(.89, .45, .14), (.81, .26, .14), (.94, .67, .20)], 'winter': [(.80, .86, .92), (.88, .92, .96)]}
NEEDLES = {'spring': (.16, .46, .30), 'summer': (.11, .39, .25), 'autumn': (.16, .37, .24), 'winter': (.28, .45, .42)}
SNOW, WOOD, CREAM, GOLD = (.97, .98, 1.), (.37, .24, .16), (.97, .95, .90), (1., .86, .46)


def mix(a, b, t):
    return tuple(x + (y - x) * t for x, y in zip(a, b))


def scale(a, k):
    return tuple(min(1., x * k) for x in a)


def times(a, b):
    return tuple(x * y for x, y in zip(a, b))


def luma(a):
    return .3 * a[0] + .59 * a[1] + .11 * a[2]


class Painter:
    """A surface and the light that falls on it.  `depth` (0 near, 1 horizon) sets how much haze tint() adds."""

    def __init__(self, q):
        self.q, self.style = q, q['style']
        self.flat = q['style'] in ('papercut', 'pixel')
        self.lamps = q['time'] in ('sunset', 'night')
        self.snowy = q['season'] == 'winter' or q['ground'] == 'snow'
        self.depth = 0.
        self.pixels = np.zeros((SIZE, SIZE, 4), np.uint8)
        self.surface = cairo.ImageSurface.create_for_data(self.pixels, cairo.FORMAT_RGB24, SIZE, SIZE, SIZE * 4)
        self.c = cairo.Context(self.surface)
        self.c.set_line_join(cairo.LINE_JOIN_ROUND)
        self.c.set_line_cap(cairo.LINE_CAP_ROUND)
        over = scale(OVERCAST[q['time']], .74 if q['weather'] == 'rain' else 1.)
        self.sky = [mix(c, over, GREY.get(q['weather'], 0.) * (1 - .25 * i)) for i, c in enumerate(SKY[q['time']])]
        self.haze = self.sky[2]
        if q['weather'] == 'fog':
            self.haze = mix(self.haze, (.35, .38, .5) if q['time'] == 'night' else (.9, .9, .92), .5)
        self.thick = THICK.get(q['weather'], .28)
        self.ambient = AMBIENT[q['time']]
        if q['weather'] == 'rain':
            self.ambient = times(self.ambient, (.80, .82, .88))

    def tint(self, color, depth=None):
        """The colour in this light, seen through the air up to `depth`."""
        d = self.depth if depth is None else depth
        return mix(times(color, self.ambient), self.haze, min(.92, d * (.45 + .75 * self.thick)))

    def window(self):
        return mix(GOLD, self.haze, self.depth * .4) if self.lamps else self.tint((.34, .47, .60))

    # Every fill takes `to`, the colour on the side away from the light (default: a darker tone), and `axis`.
    def fill(self, color, to=None, axis='x', shadow=True):
        c = self.c
        if self.style == 'papercut' and shadow:
            path = c.copy_path()
            c.save()
            c.new_path()
            c.translate(*c.device_to_user_distance(2.0, 2.8))
            c.append_path(path)
            c.restore()
            c.set_source_rgba(.02, .02, .08, .30)
            c.fill()
            c.append_path(path)
        to = scale(color, .80) if to is None else to
        if self.flat or to == color:
            c.set_source_rgb(*color)
        else:
            x0, y0, x1, y1 = c.path_extents()
            g = cairo.LinearGradient(x0, y0, x1, y0) if axis == 'x' else cairo.LinearGradient(x0, y0, x0, y1)
            g.add_color_stop_rgb(0, *color)
            g.add_color_stop_rgb(1, *to)
            c.set_source(g)
        c.fill()

    def poly(self, points, color, **k):
        self.c.new_path()
        self.c.move_to(*points[0])
        for p in points[1:]:
            self.c.line_to(*p)
        self.c.close_path()
        self.fill(color, **k)

    def rect(self, x, y, w, h, color, **k):
        self.c.new_path()
        self.c.rectangle(x, y, w, h)
        self.fill(color, **k)

    def ellipse(self, x, y, rx, ry, color, **k):
        c = self.c
        c.new_path()
        c.save()
        c.translate(x, y)
        c.scale(rx, ry)
        c.arc(0, 0, 1, 0, 2 * math.pi)
        c.restore()
        self.fill(color, **k)

    def circle(self, x, y, r, color, **k):
        self.ellipse(x, y, r, r, color, **k)

    def curve(self, points, color, **k):
        """A closed path: the first point, then triples of Bezier points."""
        c = self.c
        c.new_path()
        c.move_to(*points[0])
        for i in range(1, len(points), 3):
            c.curve_to(*points[i], *points[i + 1], *points[i + 2])
        c.close_path()
        self.fill(color, **k)

    def line(self, points, width, color, alpha=1.):
        c = self.c
        c.set_source_rgba(*color, alpha)
        c.set_line_width(width)
        c.new_path()
        c.move_to(*points[0])
        if len(points) == 4:
            c.curve_to(*points[1], *points[2], *points[3])
        else:
            for p in points[1:]:
                c.line_to(*p)
        c.stroke()

    def glow(self, x, y, r, color, alpha):
        g = cairo.RadialGradient(x, y, 0, x, y, r)
        g.add_color_stop_rgba(0, *color, alpha)
        g.add_color_stop_rgba(.35, *color, alpha * .38)
        g.add_color_stop_rgba(1, *color, 0)
        self.c.set_source(g)
        self.c.rectangle(x - r, y - r, 2 * r, 2 * r)
        self.c.fill()

    def ridge(self, y, height, color, to, r, rough=.5):
        """A hill line across the picture, filled down to the bottom edge."""
        phase = [r.uniform(0, 2 * math.pi) for _ in range(4)]
        points = [(-4, SIZE + 4)]
        for x in range(-4, SIZE + 9, 6):
            t = x / SIZE * math.pi
            wave = sum(math.sin(t * f + p) * rough ** i for i, (f, p) in enumerate(zip((.9, 1.9, 4.1, 8.3), phase)))
            points.append((x, y - height * .6 * wave))
        self.poly(points + [(SIZE + 6, SIZE + 4)], color, to=to, axis='y')
