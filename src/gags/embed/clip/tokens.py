"""Texts → tokens, with the tokenizer of a model's own folder."""

import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from gags.errors import ModelError
from gags.models.hub import read_json
from gags.models.pretrained import quiet


class Tokens:
    """The tokenizer of a CLIP or SigLIP.

    Args:
        folder: Holds the tokenizer's files.
        length: Most tokens that the model takes.
        siglip: Lower case, and always `length` tokens, as in SigLIP's training. CLIP's tokenizer handles case
            itself, and its model ignores what follows the end of a text.

    Raises:
        ModelError: If the files are missing or a package that they need is.
    """

    def __init__(self, folder: Path, length: int, *, siglip: bool) -> None:
        self._length = length
        self._siglip = siglip
        self._without_punctuation = siglip and _tokenizer_class(folder).startswith("SiglipTokenizer")
        self._tokenizer = _load(folder)

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Tokens of texts, cut to what the model takes: arguments of the model, int64 [T, L] each."""
        if self._siglip:
            texts = [self._canonical(text) for text in texts]
        made = self._tokenizer(
            list(texts),
            padding="max_length" if self._siglip else "longest",
            truncation=True,
            max_length=self._length,
            return_tensors="pt",
        )
        wanted = ("input_ids",) if self._siglip else ("input_ids", "attention_mask")
        return {name: made[name] for name in wanted}

    def _canonical(self, text: str) -> str:
        """The form of the texts that SigLIP (without punctuation) and SigLIP 2 were trained on."""
        text = text.lower()
        if self._without_punctuation:
            text = text.translate(str.maketrans("", "", string.punctuation))
        return re.sub(r"\s+", " ", text).strip()


def _tokenizer_class(folder: Path) -> str:
    path = folder / "tokenizer_config.json"
    return str(read_json(path).get("tokenizer_class", "")) if path.is_file() else ""


def _load(folder: Path) -> Any:
    """The tokenizer that the folder describes; of two descriptions, the one that needs no other code."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    whole = (folder / "tokenizer.json").is_file()
    kind = PreTrainedTokenizerFast if whole else AutoTokenizer
    try:
        with quiet():
            return kind.from_pretrained(folder, local_files_only=True, padding_side="right")
    except Exception as error:  # a missing package or file: every class raises its own
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the tokenizer in {folder} cannot be loaded: {reason}") from error
