"""Which subjects of a scene a person could see: drawn with and without its objects, the picture must differ by enough.

A mountain behind the houses of a city or a pine behind a castle is in the scene but not in the picture; such a subject is no fair
question.  What surrounds an object (its island, its contact shadow) stays when it is left out, so only its own look counts.
"""
import numpy as np

from render import Scene, render
from world import SUBJECTS

LEVEL, LEAST = 16, 450


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
    """Subjects (as numbers) that a person can see: at least LEAST pixels differ by more than LEVEL of 255.  The limits were chosen by
    eye on scenes 100000 to 101499: what is named at sight passes."""
    enough = [(change > LEVEL).sum() >= LEAST for change in differences(q)]
    return [SUBJECTS.index(group['kind']) for group, seen in zip(q['groups'], enough) if seen]
