"""Which subjects of a scene a person could see: drawn with and without its objects, the picture must differ by enough.

A black tent at night, a white cat in fog or a boat behind another's sail is in the scene but not in the picture; such a subject is no
fair question.  What surrounds an object (its island, its contact shadow) stays when it is left out, so only its own look counts.
"""
import numpy as np

from render import Scene, render
from world import EXTENT, SUBJECTS

LEVEL, LEAST, SHARE = 16, 450, .075


class Without(Scene):
    """A scene but for the objects of one group."""

    def __init__(self, q, group):
        super().__init__(q)
        self.group = group

    def object(self, o, *look, **more):
        if o['group'] != self.group:
            super().object(o, *look, **more)


def differences(q):
    """Per group, how much each pixel changes when it is left out: the largest channel difference, uint8 [256,256]."""
    full = render(q).astype(np.int16)
    return [np.abs(full - Without(q, g).draw()).max(2).astype(np.uint8) for g in range(len(q['groups']))]


def kinds(q):
    """Subjects (as numbers) that a person can see: at least LEAST pixels, and SHARE of what its objects measure, differ by more than
    LEVEL of 255.  The limits were chosen by eye on scenes 100000 to 101499: what is named at sight passes."""
    out = []
    for group, change in zip(range(len(q['groups'])), differences(q)):
        area = sum(np.prod(EXTENT[o['kind']]) * o['scale'] ** 2 for o in q['objects'] if o['group'] == group)
        if (change > LEVEL).sum() >= max(LEAST, SHARE * area):
            out.append(SUBJECTS.index(q['groups'][group]['kind']))
    return out
