"""The postcards world: its attribute values, and how a random scene is drawn from them.

A scene is a small dict.  `random_scene` draws the attributes, `layout` places the objects; both are pure functions of
their random stream.  The lists below are frozen: trained weights and the attribute test depend on their order.

    scene: seed, style, time, ground, weather, season, water       one value each
           groups    one or two dicts kind, color (or None = its natural colour), count, size
           relation  how the first group stands to the second (None with one group)
           side      where a lone group stands
    layout adds: horizon, sun_x, bow_x, crescent, bank and objects (kind, color, x, y, scale, seed, place, group)
"""
import random

SIZE, HELD_OUT = 256, 10_000_000
SUBJECTS = ['house', 'lighthouse', 'windmill', 'castle', 'boat', 'balloon', 'cat', 'bird',
            'pine', 'oak', 'palm', 'mountain', 'bridge', 'tent']
COLORS = ['red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink', 'white', 'black', 'brown']
GROUNDS = ['lake', 'sea', 'meadow', 'desert', 'snow', 'city']
TIMES = ['dawn', 'day', 'sunset', 'night']
WEATHERS = ['clear', 'cloudy', 'rain', 'snowfall', 'fog', 'rainbow']
SEASONS = ['spring', 'summer', 'autumn', 'winter']
STYLES = ['poster', 'watercolor', 'papercut', 'ink', 'neon', 'pixel']
SIZES = ['small', 'big']
RELATIONS = ['left', 'right', 'beside', 'behind', 'front', 'above', 'under']
SIDES = ['left', 'centre', 'right']
WATERS = ['blue', 'turquoise', 'green']

WATER_GROUNDS = ('lake', 'sea')
FLYING = ('balloon', 'bird')
NATURAL = ('pine', 'oak', 'palm', 'mountain')          # have a colour of their own when none is named
MOST = {'bridge': 1, 'castle': 1, 'lighthouse': 2, 'mountain': 3,
        'house': 4, 'windmill': 4, 'tent': 4, 'cat': 4, 'boat': 4}

# Width and height in pixels of each subject drawn at scale 1, and the scale it has when it stands alone.
EXTENT = {'house': (70, 68), 'lighthouse': (40, 108), 'windmill': (84, 98), 'castle': (84, 104), 'boat': (68, 70),
          'balloon': (60, 88), 'cat': (60, 74), 'bird': (62, 48), 'pine': (50, 88), 'oak': (62, 76), 'palm': (68, 86),
          'mountain': (156, 100), 'bridge': (164, 50), 'tent': (84, 48)}
ALONE = {'house': 1.55, 'lighthouse': 1.35, 'windmill': 1.40, 'castle': 1.35, 'boat': 1.65, 'balloon': 1.50,
         'cat': 1.50, 'bird': 1.65, 'pine': 1.40, 'oak': 1.55, 'palm': 1.40, 'mountain': 1.35, 'bridge': 1.25,
         'tent': 1.60}


def random_group(r, kind, most=5):
    """A group of `kind` with random colour, count and size."""
    color = r.choice(COLORS)
    if kind in NATURAL:
        color = None if r.random() < .6 else r.choice(COLORS[:8])
    elif kind == 'cat' and r.random() < .6:
        color = r.choice(['white', 'black', 'orange', 'brown'])
    count = 1 if r.random() < .70 else r.choice([2, 2, 3, 3, 4, 5])
    count = min(count, MOST.get(kind, 5), most)
    size = r.choices(['small', None, 'big'], [15, 70, 15])[0]
    return dict(kind=kind, color=color, count=count, size=size)


def random_relation(r, a, b):
    """A relation that makes sense: what flies is above, a mountain is behind, a cat is in front."""
    if a in FLYING or b in FLYING:
        if a in FLYING and b in FLYING:
            return r.choice(['left', 'right', 'beside'])
        return r.choice(['above', 'above', 'left', 'right'] if a in FLYING else ['under', 'left', 'right', 'beside'])
    for kind, when_first, when_second in (('mountain', 'behind', 'front'), ('cat', 'front', 'behind')):
        if kind in (a, b):
            return r.choice([when_first if kind == a else when_second, 'left', 'right'])
    if {a, b} & {'bridge', 'boat'}:
        return r.choice(['left', 'right', 'beside', 'beside'])
    return r.choice(['left', 'right', 'beside', 'behind', 'front', 'beside'])


def scene_at(index):
    """The scene of a data set's index: the same on every machine.  Indices from HELD_OUT on are never trained on."""
    return random_scene(random.Random('postcards/%d' % index))


def allowed(kind, ground):
    if kind in ('boat', 'bridge'):
        return ground in WATER_GROUNDS
    return not (kind == 'palm' and ground == 'snow')


def mend(q):
    """Removes combinations that the world does not have (snow in the desert, a rainbow at night)."""
    if q['ground'] == 'snow':
        q['season'] = 'winter'
    if q['ground'] == 'desert':
        q['season'] = 'summer'
        if q['weather'] == 'snowfall':
            q['weather'] = 'clear'
    if q['weather'] == 'snowfall':
        q['season'] = 'winter'
    if q['season'] == 'winter' and q['weather'] == 'rain':
        q['weather'] = 'snowfall'
    if q['time'] == 'night' and q['weather'] == 'rainbow':
        q['weather'] = 'clear'
    return q


def random_scene(r, pair=.35, **fixed):
    """Draws a scene from the stream r and lays it out; `fixed` holds attributes that must have a given value.

    The subject is drawn before the ground, so that what needs water (boat, bridge) is as frequent as the rest.
    """
    kind = r.choice(SUBJECTS)
    q = dict(seed=r.randrange(1 << 30), style=r.choices(STYLES, [30, 18, 16, 12, 12, 12])[0], time=r.choice(TIMES),
             ground=r.choice([g for g in GROUNDS if allowed(kind, g)]),
             weather=r.choices(WEATHERS, [44, 14, 11, 11, 10, 10])[0], season=r.choice(SEASONS),
             water=r.choice(['blue', 'blue', 'turquoise', 'green']), relation=None, side=r.choice(SIDES))
    q.update(fixed)
    mend(q)
    if 'groups' not in fixed:
        kinds = [k for k in SUBJECTS if allowed(k, q['ground'])]
        first = random_group(r, kind if kind in kinds else r.choice(kinds))
        q['groups'] = [first]
        if r.random() < pair:
            second = random_group(r, r.choice([k for k in kinds if k != first['kind']]),
                                  1 if first['count'] > 2 else 3)
            q['groups'].append(second)
            q['relation'] = random_relation(r, first['kind'], second['kind'])
    return layout(q)


def centres(q, r):
    """x of both group centres and how much each is nearer (+1) or farther (-1) than usual."""
    if len(q['groups']) == 1:
        return [({'left': 78, 'centre': 128, 'right': 178}[q['side']], 0)]
    relation, swap, step = q['relation'], r.random() < .5, r.choice([-32, 32])
    if relation == 'left':
        return [(72, 0), (184, 0)]
    if relation == 'right':
        return [(184, 0), (72, 0)]
    if relation == 'behind':
        return [(128 + step, -1), (128 - step * .6, 1)]
    if relation == 'front':
        return [(128 - step * .6, 1), (128 + step, -1)]
    if relation in ('above', 'under'):
        x = r.randint(92, 164)
        return [(x, 0), (x + r.randint(-34, 34), 0)]
    return [(76, 0), (180, 0)] if swap else [(180, 0), (76, 0)]


def stand(q, kind, scale, depth, index, r):
    """Where an object of this kind stands: its layer, base line y and scale."""
    ys, wobble = q['horizon'], r.uniform(-1, 1)
    if kind == 'balloon':
        return 'sky', ys * .80 + 10 * wobble + (9 if index % 2 else 0), scale * .88
    if kind == 'bird':
        return 'sky', ys * .46 + 12 * wobble + (14 if index % 2 else 0), scale * .88
    if kind == 'boat':
        return 'water', ys + 36 + 12 * wobble + 8 * depth, scale * .95
    if kind == 'cat':
        return 'front', SIZE - 12 + 3 * wobble, scale
    if kind == 'mountain':
        return 'far', ys + 2, scale
    if q['ground'] == 'lake':
        return 'land', ys + 1 + 3 * depth, scale * (.85 if depth >= 0 else .76)
    if q['ground'] == 'sea':
        return 'land', ys + (3 if kind == 'bridge' else -6) + 2 * wobble + 3 * depth, scale * .82
    return 'land', ys + 58 + 5 * wobble + 15 * depth, scale * (1 + .10 * depth)


def layout(q):
    """Places the objects of a scene.  Draws from the scene's own geometry stream only."""
    r = random.Random('%d/layout' % q['seed'])
    water = q['ground'] in WATER_GROUNDS
    q['horizon'] = ys = r.randint(152, 166) if water else r.randint(128, 142)
    q['sun_x'] = r.choice([r.randint(34, 90), r.randint(166, 222)])
    q['bow_x'], q['crescent'], q['bank'] = r.randint(100, 156), r.random() < .5, r.random() < .6
    q['objects'] = []
    for g, (group, (x0, depth)) in enumerate(zip(q['groups'], centres(q, r))):
        kind, n = group['kind'], group['count']
        scale = ALONE[kind] * {'small': .66, None: 1., 'big': 1.28}[group['size']]
        scale *= {1: 1., 2: .80, 3: .66, 4: .56, 5: .50}[n] * (.74 if len(q['groups']) == 2 else 1.)
        pitch = EXTENT[kind][0] * scale * (.66 if kind == 'mountain' else 1.0)
        room = 224 if len(q['groups']) == 1 else 128
        if n > 1:
            pitch = min(pitch, (room - .7 * pitch) / (n - 1))
        half = pitch * (n - 1) / 2 + EXTENT[kind][0] * scale * .46
        x0 = min(max(x0, 6 + half), 250 - half) if half < 122 else 128
        for i in range(n):
            place, y, s = stand(q, kind, scale, depth, i, r)
            s = min(s, (y - 6) / EXTENT[kind][1])
            q['objects'].append(dict(kind=kind, color=group['color'], x=x0 + (i - (n - 1) / 2) * pitch + r.uniform(-3, 3),
                                     y=y, scale=s, seed=r.randrange(1 << 30), place=place, group=g))
    return q
