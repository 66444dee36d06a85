"""The attribute test: 200 prompts with what each names, frozen in attributes.json (prompts alone: attributes.txt).

    python3 attributes.py          writes both files again; they must not change

80 name subject, colour, ground and time; 40 the same in synonyms only; 40 two groups and a relation; 20 counts of two to four;
20 style, weather and season.  What nobody can see is left out: black or brown things at night, white ones on snow.
"""
import json
import os
import random

import world
from captions import (COLOR_NEAR, COLOR_WORDS, COUNT_WORDS, GROUND_NEAR, GROUND_WORDS, RELATION_WORDS, SEASON_WORDS, STYLE_WORDS,
                      SUBJECT_NEAR, SUBJECT_WORDS, TIME_NEAR, TIME_WORDS, WEATHER_WORDS, article, plural)

HERE = os.path.dirname(os.path.abspath(__file__))
LISTED = os.path.join(HERE, 'attributes.json')
IN = {'lake': 'by a lake', 'sea': 'by the sea', 'meadow': 'in a meadow', 'desert': 'in the desert', 'snow': 'in the snow', 'city': 'in the city'}


def first(table, key):
    return table[key].split('|')[0]


def other(r, table, near, key):
    """A word that is not the main one."""
    words = [w for w in dict.fromkeys(table[key].split('|') + near.get(key, '').split('|')) if w and w != first(table, key)]
    return r.choice(words)


def visible(color, ground, time, style=None):
    return not (color in ('black', 'brown') and (time == 'night' or style == 'neon') or color == 'white' and ground == 'snow')


def color_for(r, kind, ground, time, style=None):
    pool = world.COLORS[:8] if kind in world.NATURAL else world.COLORS
    return r.choice([c for c in pool if visible(c, ground, time, style)])


def place(r, kind):
    return r.choice([g for g in world.GROUNDS if world.allowed(kind, g)])


def empty():
    return dict(groups=[], relation=None, ground=None, time=None, weather=None, season=None, style=None)


def group(kind, color=None, count=1):
    return dict(kind=kind, color=color, count=count)


def single(r, kind, synonyms):
    q = empty()
    q['ground'], q['time'] = place(r, kind), r.choice(world.TIMES)
    color = color_for(r, kind, q['ground'], q['time'])
    q['groups'] = [group(kind, color)]
    if synonyms:
        noun = other(r, SUBJECT_WORDS, SUBJECT_NEAR, kind)
        ground = 'at the ' + other(r, GROUND_WORDS, GROUND_NEAR, q['ground'])
        text = article(other(r, COLOR_WORDS, COLOR_NEAR, color) + ' ' + noun) + ' %s %s' % (
            ground, other(r, TIME_WORDS, TIME_NEAR, q['time']))
    else:
        text = article(color + ' ' + first(SUBJECT_WORDS, kind)) + ' %s %s' % (IN[q['ground']], first(TIME_WORDS, q['time']))
    return text, q


def pair(r, kind):
    q = empty()
    q['ground'], q['time'] = place(r, kind), r.choice(world.TIMES)
    kinds = [k for k in world.SUBJECTS if k != kind and world.allowed(k, q['ground'])]
    second = r.choice(kinds)
    q['relation'] = world.random_relation(r, kind, second)
    q['groups'] = [group(k, color_for(r, k, q['ground'], q['time'])) for k in (kind, second)]
    words = [article(g['color'] + ' ' + first(SUBJECT_WORDS, g['kind'])) for g in q['groups']]
    return ' '.join([words[0], first(RELATION_WORDS, q['relation']), words[1], IN[q['ground']], first(TIME_WORDS, q['time'])]), q


def several(r, kind):
    q = empty()
    q['ground'], q['time'] = place(r, kind), r.choice(world.TIMES)
    count = r.randint(2, min(4, world.MOST.get(kind, 4)))
    color = color_for(r, kind, q['ground'], q['time'])
    q['groups'] = [group(kind, color, count)]
    return '%s %s %s %s %s' % (first(COUNT_WORDS, count), color, plural(first(SUBJECT_WORDS, kind)), IN[q['ground']],
                               first(TIME_WORDS, q['time'])), q


def styled(r, i):
    style = world.STYLES[i % len(world.STYLES)]
    while True:
        q = world.mend(dict(ground=r.choice(world.GROUNDS), time=r.choice(world.TIMES), weather=r.choice(world.WEATHERS),
                            season=r.choice(world.SEASONS)))
        kind = r.choice(world.SUBJECTS)
        if world.allowed(kind, q['ground']) and q['ground'] != 'desert':
            break
    out = empty() | dict(style=style, weather=q['weather'], season=q['season'], groups=[group(kind)])
    return '%s %s %s, %s' % (article(first(SUBJECT_WORDS, kind)), first(SEASON_WORDS, q['season']), first(WEATHER_WORDS, q['weather']),
                             first(STYLE_WORDS, style)), out


def listed():
    """[{prompt, groups, relation, ground, ...}]; what a prompt does not name is null."""
    with open(LISTED) as f:
        return json.load(f)


def main():
    r = random.Random('postcards/attributes')
    kinds = world.SUBJECTS * 6
    many = [k for k in world.SUBJECTS if world.MOST.get(k, 5) > 1]
    made = [single(r, kinds[i], False) for i in range(80)] + [single(r, kinds[i], True) for i in range(40)]
    made += [pair(r, kinds[i]) for i in range(40)] + [several(r, many[i % len(many)]) for i in range(20)]
    made += [styled(r, i) for i in range(20)]
    with open(LISTED, 'w') as f:
        f.write('[\n' + ',\n'.join(json.dumps(dict(prompt=text, **q)) for text, q in made) + '\n]\n')
    with open(LISTED[:-4] + 'txt', 'w') as f:
        f.write(''.join(text + '\n' for text, _ in made))


if __name__ == '__main__':
    main()
