"""Things as numbers of Gaussians: the smallest that holds each, and what the numbers mean."""

import numpy as np

from gags.query.ids import thing_of_each, with_wholes
from gags.things.things import Things


def nested() -> Things:
    """A table (0 to 7) on which a mug (2 to 5) stands, whose handle is 4 and 5; and a lamp (8, 9)."""
    members = [list(range(8)), [2, 3, 4, 5], [4, 5], [8, 9]]
    things = Things.build(
        np.concatenate(members).astype(np.int64),
        np.repeat(np.arange(4), [len(rows) for rows in members]),
        [np.arange(3)] * 4,
    )
    things.parents[:] = [-1, 0, 1, -1]
    return things


def test_each_gaussian_is_of_the_smallest_thing_that_holds_it():
    ids = thing_of_each(nested(), 12)
    np.testing.assert_array_equal(ids, [0, 0, 1, 1, 2, 2, 0, 0, 3, 3, -1, -1])
    assert ids.dtype == np.int32


def test_what_holds_a_thing_that_occurs_is_listed_too():
    things = nested()
    assert with_wholes(np.array([2, -1, 2]), things) == [0, 1, 2]
    assert with_wholes(np.array([3]), things) == [3]
    assert with_wholes(np.array([-1]), things) == []


def test_a_scene_without_things():
    np.testing.assert_array_equal(thing_of_each(Things.none(), 3), [-1, -1, -1])
