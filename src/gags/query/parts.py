"""Texts that ask for a part of something: "mug handle", "the lid of the jar"."""

import re
from typing import NamedTuple

_WORDS = """
    arm, armrest, backrest, band, base, blade, bottom, branch, bristles, bulb, button, cap, clasp, collar,
    cord, cork, corner, cover, dial, drawer, ear, edge, elastic, faucet, flap, frame, grip, handle,
    handlebar, headrest, heel, hinge, hood, hook, keyboard, keypad, knob, label, lace, leaf, leg, lens,
    lid, lip, neck, nozzle, page, pedal, peel, petal, pocket, rim, roof, root, screen, seat, shade, shaft,
    sleeve, sole, spine, spout, stalk, stand, stem, strap, string, switch, tail, tip, tongue, touchpad,
    trackpad, trigger, tube, visor, wheel, wick, wing, zipper
"""
PART_WORDS = frozenset(" ".join(word.split()) for word in _WORDS.split(","))
"""Names of parts that many things have, in the singular."""

_QUALIFIERS = """
    baseball, beige, big, black, blue, broken, brown, clean, closed, cyan, dark, dirty, dry, empty, flat,
    four, full, gold, golden, gray, green, grey, large, left, light, little, long, low, lower, magenta, metal,
    new, old, open, orange, pink, plastic, purple, red, right, round, short, shiny, silver, small, soft,
    square, swim, swimming, tall, thick, thin, three, tiny, touch, two, upper, wet, white, wide, wooden,
    yellow
"""
QUALIFIERS = frozenset(" ".join(word.split()) for word in _QUALIFIERS.split(","))
"""Words that say how something is, not what it is a part of; and of names such as "baseball cap"."""

_OF = re.compile(r"^(?P<part>.+?) of (?:(?:the|a|an|my|your|this|that) )?(?P<whole>.+)$")
_JOINING = frozenset(("and", "for", "from", "in", "of", "on", "or", "under", "with", "without"))
_ARTICLE = re.compile(r"^(?:the|a|an) ")


class PartAsked(NamedTuple):
    """What a text asks for a part of.

    Attributes:
        text: The text as a name of the part, "mug handle".
        part: What the part is called, "handle".
        whole: What it is a part of, "mug".
    """

    text: str
    part: str
    whole: str


def part_and_whole(text: str) -> PartAsked | None:
    """What a text asks for a part of.

    "mug handle" and "the handle of the mug" are the handle of a mug. What is called by a part's name alone,
    as "keyboard" or "red handle", is a thing of its own.

    Args:
        text: What somebody looks for.

    Returns:
        None if it asks for no part.
    """
    plain = _ARTICLE.sub("", " ".join(text.lower().split()))
    match = _OF.match(plain)
    if match and _names_a_part(match["part"]) and _names_a_thing(match["whole"]):
        part = _ARTICLE.sub("", match["part"])
        return PartAsked(f"{match['whole']} {part}", part, match["whole"])
    *before, last = plain.split(" ")
    if _names_a_part(last) and _names_a_thing(" ".join(before)) and not _JOINING.intersection(before):
        return PartAsked(plain, last, " ".join(before))
    return None


def _names_a_part(words: str) -> bool:
    last = words.split(" ")[-1]
    singular = {last, last.removesuffix("s"), last.removesuffix("es"), last.removesuffix("ves") + "f"}
    return not PART_WORDS.isdisjoint(singular)


def _names_a_thing(words: str) -> bool:
    return bool(words) and not QUALIFIERS.issuperset(words.split(" "))
