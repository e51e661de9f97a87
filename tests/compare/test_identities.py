"""Masks of all photos as things without a hierarchy."""

import numpy as np
from tests.things.test_things import made

from gags.compare.identities import groups_of_pairs, nested


def test_parts_belong_to_the_smallest_thing_that_holds_them_and_is_agreed_on_more():
    room, table, leg, beside = [*range(20)], [*range(10)], [0, 1, 2], [9, 20, 21]
    things = made(room, table, leg, beside)
    assert nested(things, 22).tolist() == [-1, 0, 1, -1]


def test_pairs_are_united_best_first_unless_others_in_the_group_are_apart():
    joint, apart = np.zeros((4, 4)), np.zeros((4, 4))
    joint[1, 0], joint[2, 1], apart[2, 0] = 9, 8, 3  # 2 would join 1, but not 0
    joint[3, 2], apart[3, 2] = 5, 5  # as often apart: stays alone
    assert groups_of_pairs(joint, apart).tolist() == [0, 0, 2, 3]
    assert groups_of_pairs(joint, np.zeros((4, 4))).tolist() == [0, 0, 0, 0]
