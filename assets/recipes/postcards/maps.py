"""Where a scene's objects are, as small grids: helps the UNet learn (an extra loss) and weighs its main loss."""
import numpy as np

from world import COLORS, EXTENT, GROUNDS, SEASONS, SIZE, STYLES, SUBJECTS, TIMES, WEATHERS

WHOLE = dict(ground=GROUNDS, time=TIMES, weather=WEATHERS, season=SEASONS, style=STYLES)
NO_OBJECT = -1


def boxes(q):
    """(object, x0, y0, x1, y1) in pixels, far to near."""
    order = {'far': 0, 'sky': 1, 'land': 2, 'water': 3, 'front': 4}
    for o in sorted(q['objects'], key=lambda o: (order[o['place']], o['y'])):
        w, h = (e * o['scale'] for e in EXTENT[o['kind']])
        yield o, o['x'] - w / 2, o['y'] - h, o['x'] + w / 2, o['y']


def grids(q, n):
    """(presence [14,n,n] bool, colour [n,n] int: index, 10 natural, NO_OBJECT): the nearest object of a cell gives its colour."""
    presence = np.zeros((len(SUBJECTS), n, n), bool)
    color = np.full((n, n), NO_OBJECT, np.int64)
    cell = SIZE / n
    for o, x0, y0, x1, y1 in boxes(q):
        i0, i1 = int(max(0, np.floor(x0 / cell + .35))), int(min(n, np.ceil(x1 / cell - .35)))
        j0, j1 = int(max(0, np.floor(y0 / cell + .35))), int(min(n, np.ceil(y1 / cell - .35)))
        i1, j1 = max(i1, i0 + 1), max(j1, j0 + 1)
        presence[SUBJECTS.index(o['kind']), j0:j1, i0:i1] = True
        color[j0:j1, i0:i1] = COLORS.index(o['color']) if o['color'] else len(COLORS)
    return presence, color


def whole(q):
    return [values.index(q[k]) for k, values in WHOLE.items()]
