"""Texts that ask for a part of something: "mug handle", "the lid of the jar"."""

import re

_WORDS = """
    arm, armrest, backrest, band, base, blade, bottom, branch, bristles, bulb, button, cap, clasp, collar,
    cord, cork, corner, cover, dial, drawer, ear, edge, elastic, faucet, flap, frame, grip, handle,
    handlebar, headrest, heel, hinge, hood, hook, keyboard, keypad, knob, label, laces, leaf, leg, lens,
    lid, lip, neck, nozzle, page, pedal, peel, petal, pocket, rim, roof, root, screen, seat, shade, shaft,
    sleeve, sole, spine, spout, stalk, stand, stem, strap, string, switch, tail, tip, tongue, touchpad,
    trackpad, trigger, tube, visor, wheel, wick, wing, zipper
"""
PART_WORDS = frozenset(" ".join(word.split()) for word in _WORDS.split(","))
"""Names of parts that many things have, in the singular."""

_OF = re.compile(r"^(?P<part>.+?) (?:of|on|from) (?:(?:the|a|an|my|your|this|that) )?(?P<whole>.+)$")
_JOINING = frozenset(("and", "for", "from", "in", "of", "on", "or", "under", "with", "without"))
_ARTICLE = re.compile(r"^(?:the|a|an) ")


def part_and_whole(text: str) -> tuple[str, str] | None:
    """What a text asks for a part of.

    "mug handle" and "the handle of the mug" are the handle of a mug. What is called by a part's name alone,
    as "keyboard", is a thing of its own.

    Args:
        text: What somebody looks for.

    Returns:
        The text itself as a name of the part, and the whole; None if it asks for no part.
    """
    plain = _ARTICLE.sub("", " ".join(text.lower().split()))
    match = _OF.match(plain)
    if match and _names_a_part(match["part"]):
        return f"{match['whole']} {_ARTICLE.sub('', match['part'])}", match["whole"]
    words = plain.split(" ")
    if len(words) > 1 and _names_a_part(words[-1]) and not _JOINING.intersection(words):
        return plain, " ".join(words[:-1])
    return None


def _names_a_part(words: str) -> bool:
    last = words.split(" ")[-1]
    return last in PART_WORDS or (last.endswith("s") and last[:-1] in PART_WORDS)
