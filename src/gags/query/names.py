"""Names of things: lists of words, which of them say best what Gaussians are, what a scene can be asked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gags.distill.field import LanguageField
from gags.embed.description import Description
from gags.embed.encoder import Encoder
from gags.errors import QueryError
from gags.files import listed_lines
from gags.query.examples import CERTAIN, Example
from gags.query.relevancy import Queries, counted_phrases, relevancy_from_cosines
from gags.things.things import Things

_WORDS = """
    air conditioner, alarm clock, apple, apron, armchair, avocado, axe, backpack, bag, ball, balloon,
    banana, barrel, baseball, baseball bat, basket, basketball, bathtub, battery, bean bag, bed, bell, belt,
    bench, bicycle, bin, binoculars, bird, blanket, bleach bottle, blender, blinds, board game, book,
    bookshelf, boot, bottle, bottle cap, bowl, box, bracelet, bread, briefcase, broccoli, broom, brush,
    bucket, bus, cabinet, cable, cake, calculator, calendar, camera, can, candle, candlestick, cap, car,
    cardboard box, carpet, carrot, cat, ceiling, cereal box, chair, chandelier, cheese, chessboard,
    chocolate, clamp, clock, cloth, coat, coat hanger, coffee machine, coffee pot, coin, computer mouse,
    cookie, cooking pot, corkscrew, corn, cracker box, cucumber, cup, cupboard, curtain,
    cushion, cutting board, desk, desk lamp, detergent bottle, dice, dog, doll, door, door handle, drawer,
    dress, drill, drum, dustpan, egg, envelope, eraser, extension cord, fan, faucet, fence, figurine,
    fire extinguisher, fireplace, fish, flashlight, flower, flower pot, fork, fruit, frying pan, funnel,
    garlic, gift box, glass, glasses, globe, glove, glue, grape, grass, guitar, hair dryer, hammer, hammock,
    hand, handbag, hat, headphones, helmet, hose, houseplant, iron, ironing board, jacket, jar, jeans, jug,
    kettle, key, keyboard, kitchen scale, kiwi, knife, ladder, ladle, lamp, lamp shade, laptop, lemon,
    letter, lettuce, light bulb, light switch, lighter, lime, loudspeaker, magazine, mango, map, marker pen,
    mask, matchbox, mattress, measuring cup, meat, microphone, microscope, microwave, milk carton, mirror,
    mobile phone, money, monitor, mop, motorcycle, muffin, mug, mushroom, mustard bottle, nail, napkin,
    necklace, newspaper, notebook, nut, onion, orange, oven, padlock, paint brush, painting, pan,
    pancake, paper, paper towel, peach, pear, pen, pencil, pencil case, pepper, pepper mill, perfume, person,
    piano, picture frame, pillow, pineapple, pitcher, pizza, plant, plastic bag, plate, pliers, plug, plum,
    pomegranate, poster, pot, potato, power socket, printer, projector, pumpkin, purse, puzzle, racket,
    radiator, radio, razor, refrigerator, remote control, ring, rock, rope, rubik's cube, rug, ruler, salt
    shaker, sandwich, sauce bottle, saucer, saw, scarf, scissors, screen, screwdriver, shampoo bottle, sheep,
    shelf, shirt, shoe, shovel, shower, sink, skateboard, sneaker, soap, soap dispenser, sock, soda can,
    sofa, soup can, spatula, spice jar, spider, sponge, spoon, spray bottle, stairs, stapler, statue,
    stethoscope, stone, stool, stove, strawberry, suitcase, sugar box, sunglasses, sweater, syringe, table,
    tablecloth, tablet computer, tape, tape measure, tea bag, tea towel, teapot, teddy bear, telephone,
    telescope, television, tennis ball, tennis racket, tent, thermometer, tie, tin can, tire, tissue box,
    toaster, toilet, toilet paper, tomato, tongs, toolbox, toothbrush, toothpaste, towel, toy,
    toy airplane, toy animal, toy brick, toy car, toy train, traffic cone, trash can, tray, tree, tripod,
    trousers, trumpet, umbrella, vacuum cleaner, vase, video game controller, violin, wall, wallet, wardrobe,
    washing machine, watch, water bottle, watering can, watermelon, wheel, whisk, whiteboard, window,
    window blind, wine bottle, wine glass, wooden block, wooden floor, wrench, yarn
"""
EVERYDAY = tuple(" ".join(word.split()) for word in _WORDS.split(","))


def read_words(path: Path) -> list[str]:
    """Words of a text file, one a line; empty lines, doubles, and lines that begin with # are left out.

    Raises:
        QueryError: If the file cannot be read or holds no word.
    """
    try:
        lines = listed_lines(path)
    except (OSError, ValueError) as error:
        raise QueryError(f"list of words {path} cannot be read ({error}); write a word a line") from error
    words = list(dict.fromkeys(" ".join(line.split()) for line in lines))
    if not words:
        raise QueryError(f"list of words {path} is empty; write a word a line")
    return words


NAMES = 5  # that are given of everything
NAMED_ON = 4096  # Gaussians of a thing that are looked at to name it; more tell nothing new
SAMPLE = 1024  # of each thing that others are compared with
BEST_THINGS = 10  # things that a word fits best, which tell how common it is


@dataclass(frozen=True, eq=False)
class Namer:
    """Names the Gaussians of a scene; a word that fits many of its things tells little of one of them.

    Words compete by the logit of their relevancy less half of their commonness, the rule of CSLS (Conneau et
    al. 2018, "Word translation without parallel data"), there of cosines. Without it, "box" names everything
    in a pantry.

    Attributes:
        field: The field of the scene.
        words: W words to choose from, made ready by `Queries.encode`.
        opacities: Of all Gaussians; the more opaque ones count more. [N]
        commonness: See `commonness`; zeros compare relevancy alone. [W]
        taught: What taught names mean; a thing that somebody named is called so.
    """

    field: LanguageField
    words: Queries
    opacities: np.ndarray
    commonness: Tensor
    taught: Sequence[Example] = ()

    @classmethod
    @torch.no_grad()
    def of_scene(
        cls,
        field: LanguageField,
        words: Queries,
        opacities: np.ndarray,
        things: Things,
        *,
        taught: Sequence[Example] = (),
    ) -> "Namer":
        """A namer that has seen which words fit which things of the scene, and what it was taught."""
        plain = cls(field, words, opacities, torch.zeros(len(words.texts)), taught)
        compared = [
            thing
            for thing in range(len(things))
            if things.stands_out(thing) and not things.is_leftover[thing]
        ]
        if not compared:
            return plain
        means = torch.stack([plain.relevancy(things[thing], SAMPLE) for thing in compared])
        return cls(field, words, opacities, commonness(means.logit(eps=1e-6)), taught)

    def names(self, rows: np.ndarray, count: int = NAMES) -> list[tuple[str, float]]:
        """The words that name some Gaussians best: those of a thing, or the few under a pointer.

        Args:
            rows: Which; of many, a regular sample is looked at. int64 [n], n ≥ 1
            count: How many words.

        Returns:
            At most `count` words, best first, each with its mean relevancy over the Gaussians, in [0, 1];
            taught names of just these Gaussians come before all words.
        """
        named = [(example.name, CERTAIN) for example in self.taught if example.is_of(rows, self.opacities)]
        means = self.relevancy(rows, NAMED_ON)
        fit = means.logit(eps=1e-6) - self.commonness.to(means) / 2
        best = fit.topk(min(count, len(means))).indices.tolist()
        return [*named, *((self.words.texts[word], float(means[word])) for word in best)][:count]

    @torch.no_grad()
    def relevancy(self, rows: np.ndarray, most: int) -> Tensor:
        """Mean relevancy of about `most` of some Gaussians [n] to every word. [W]"""
        sample = rows[:: -(-len(rows) // most)]
        features = self.field.features[torch.from_numpy(sample).to(self.field.features.device)]
        relevancy = self.words.relevancy(features, self.field)
        weights = torch.from_numpy(self.opacities[sample]).to(relevancy)
        return weights @ relevancy / weights.sum().clamp(min=1e-12)


def commonness(logits: Tensor) -> Tensor:
    """How well each word fits the things that it fits best: the mean logit over the `BEST_THINGS` of them.

    Args:
        logits: Of the relevancy of n things to W words. [n, W], n ≥ 1

    Returns:
        [W]
    """
    return logits.topk(min(BEST_THINGS, len(logits)), dim=0).values.mean(dim=0)


BEST_MASKS = 3  # a word counts as much as the mean of its best masks, so that one odd mask suggests nothing
MIN_PIXELS = 0.002  # masks below this share of a photo are too small to name


def suggest_texts(
    photos: Iterable[Description], encoder: Encoder, *, count: int = 6, words: Sequence[str] = EVERYDAY
) -> list[str]:
    """The words that name the most certain things in some photos, best first.

    Args:
        photos: Masks and embeddings of each, made with `encoder`.
        encoder: The encoder.
        count: How many words.
        words: Words to choose from.

    Returns:
        At most `count` words; each is the best word for at least `BEST_MASKS` masks.
    """
    vectors = torch.from_numpy(encoder.encode_texts(words))
    negatives = torch.from_numpy(encoder.encode_texts(list(encoder.negatives)))
    counted = counted_phrases(vectors, negatives, encoder.same_meaning)
    scores: dict[str, list[float]] = {}
    for photo in photos:
        large = _areas(photo) >= MIN_PIXELS * photo.masks.labels[0].size
        if not large.any():
            continue
        embeddings = torch.from_numpy(photo.embeddings[large].astype(np.float32))
        relevancy = relevancy_from_cosines(
            embeddings @ vectors.T,
            embeddings @ negatives.T,
            temperature=encoder.temperature,
            counted=counted,
        )
        for best, score in zip(relevancy.argmax(1).tolist(), relevancy.amax(1).tolist(), strict=True):
            scores.setdefault(words[int(best)], []).append(score)
    means = {
        word: float(np.mean(sorted(found)[-BEST_MASKS:]))
        for word, found in scores.items()
        if len(found) >= BEST_MASKS
    }
    return sorted(means, key=lambda word: -means[word])[:count]


def _areas(photo: Description) -> np.ndarray:
    """Pixels of every mask. int64 [M]"""
    labels = photo.masks.labels
    return np.bincount(labels[labels >= 0].astype(np.int64), minlength=len(photo.masks))
