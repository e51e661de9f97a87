"""The language field: one short feature a Gaussian, and the decoder that turns it into an embedding."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gags.distill.compact import CompactVectors
from gags.distill.decoder import Decoder, PrincipalDecoder, decoder_of
from gags.distill.similarities import Similarities, two_largest
from gags.errors import WorkspaceError
from gags.files.contents import FIELD
from gags.gaussians import Gaussians
from gags.models.device import free_bytes
from gags.store import damaged, digest, load_tensors, save_tensors

FILE_FORMAT = "gags-field-1"
_REMEDY = "run `gags distill` again"
Asked = Literal["gaussians", "pixels"]
KEPT_BYTES = 1 << 30  # of decoded Gaussians; more are decoded at every query
COMPACT_BYTES = 1 << 32  # the same of those in 2 bytes a number, but at most a quarter of the free memory
# On the CPU, more decoded Gaussians than that are kept in 2 bytes a number, and of cosines the two largest.
EXACT_BYTES = 1 << 28


@dataclass(eq=False)
class LanguageField:
    """What distillation leaves behind: language for the Gaussians of one splats file.

    Attributes:
        features: Feature of each Gaussian. float32 [N, d]
        decoder: Turns features, blended or not, into embeddings.
        encoder_name: Encoder whose space the embeddings live in.
        splats_hash: `splats_hash` of the Gaussians the features belong to.
        stamps: Hashes of settings and inputs, by stage name.
        asked: What answers a text in a view: every Gaussian, the relevancies blended; or every pixel, decoded
            from the blended features.
    """

    features: Tensor
    decoder: Decoder
    encoder_name: str
    splats_hash: str
    stamps: dict[str, str] = field(default_factory=dict)
    asked: Asked = "gaussians"
    _remembered: tuple[Tensor, Similarities] | None = field(default=None, init=False, repr=False)

    def __len__(self) -> int:
        return self.features.shape[0]

    def to(self, device: torch.device | str) -> "LanguageField":
        """The same field on another device (the decoder moves with it)."""
        return LanguageField(
            self.features.to(device),
            self.decoder.to(device),
            self.encoder_name,
            self.splats_hash,
            self.stamps,
            self.asked,
        )

    def similarities(self, vectors: Tensor) -> Tensor:
        """Cosines of every Gaussian with vectors of the encoder's space, e.g. of texts.

        The Gaussians are decoded once and kept, N·r numbers; `features` and `decoder` must not change after.
        Those of large scenes are kept in 2 bytes a number, cosines are right to 1e-5 then.

        Args:
            vectors: L2-normalised embeddings. [T, D]

        Returns:
            Cosines. [N, T]
        """
        if self._compact is not None:
            return self._compact.products(self.decoder.fold(vectors))
        if self._coordinates is None:
            return self.decoder.similarities(self.features, vectors)
        return self._coordinates @ self.decoder.fold(vectors)

    @torch.no_grad()
    def remembered_similarities(self, vectors: Tensor) -> Similarities | None:
        """`similarities` with vectors that many queries share, as canonical phrases.

        Only the vectors of the last call are remembered, and known again by being the same tensor, not an
        equal one; they must not be written into.

        Args:
            vectors: L2-normalised embeddings. [C, D], C ≥ 1

        Returns:
            The cosines, not to be written into; None if they are too much to keep.
        """
        remembered = self._remembered  # read once: threads may ask with other vectors meanwhile
        if remembered is not None and remembered[0] is vectors:
            return remembered[1]
        if self._compact is not None:
            found = self._largest_of_compact(self._compact, vectors)
        elif 4 * len(self) * len(vectors) > KEPT_BYTES:
            return None
        else:
            found = Similarities.of(self.similarities(vectors))
        self._remembered = vectors, found
        return found

    def _largest_of_compact(self, compact: CompactVectors, vectors: Tensor) -> Similarities:
        folded, count = self.decoder.fold(vectors), len(self)
        kept = (torch.empty(count), torch.empty(count, dtype=torch.int16))
        kept += (torch.empty(count), torch.empty(count, dtype=torch.int16))

        def keep(part: slice, cosines: Tensor) -> None:
            for whole, of_part in zip(kept, two_largest(cosines), strict=True):
                whole[part] = of_part

        compact.products_of_blocks(folded, keep)
        return Similarities(*kept, lambda rows: compact.rows(rows.numpy()) @ folded)

    @property
    def _is_large(self) -> bool:
        numbers, cpu = len(self) * self.decoder.rank, self.features.device.type == "cpu"
        if not cpu or 4 * numbers <= EXACT_BYTES:
            return False
        return 2 * numbers <= KEPT_BYTES or 2 * numbers <= min(
            COMPACT_BYTES, free_bytes(self.features.device) // 4
        )

    @cached_property
    @torch.no_grad()
    def _compact(self) -> CompactVectors | None:
        """Every Gaussian of a large scene decoded; None if the scene is not large, or far too large."""
        return CompactVectors.decoded(self.decoder, self.features) if self._is_large else None

    @cached_property
    def _coordinates(self) -> Tensor | None:
        """Every Gaussian decoded [N, r]; None if that is too much to keep."""
        if 4 * len(self) * self.decoder.rank > KEPT_BYTES:
            return None
        with torch.no_grad():
            return torch.cat(
                [self.decoder.coordinates(chunk) for chunk in self.decoder.chunks(self.features)]
            )

    def check(self, gaussians: Gaussians, where: str = "the field") -> None:
        """Make sure that the features belong to these Gaussians.

        Raises:
            WorkspaceError: If the number of Gaussians or their hash differs.
        """
        if len(gaussians) != len(self):
            raise WorkspaceError(
                f"{where} belongs to {len(self)} Gaussians, the splats have {len(gaussians)}; "
                "run `gags distill` again"
            )
        if splats_hash(gaussians) != self.splats_hash:
            raise WorkspaceError(f"{where} was made for other splats; run `gags distill` again")

    def save(self, path: Path) -> None:
        """Write to a safetensors file, atomically; features are kept as float16."""
        tensors = {"decoder." + k: v.float() for k, v in self.decoder.state_dict().items()}
        tensors["features"] = self.features.half()
        metadata = {
            "format": FILE_FORMAT,
            "encoder": self.encoder_name,
            "decoder": json.dumps(_describe(self.decoder)),
            "splats_count": str(len(self)),
            "splats_hash": self.splats_hash,
            "stamps": json.dumps(self.stamps),
        }
        if self.asked != "gaussians":
            metadata["asked"] = self.asked
        save_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path, gaussians: Gaussians | None = None) -> "LanguageField":
        """Read what `save` wrote.

        Args:
            path: The file.
            gaussians: The Gaussians it is to be used with; None skips that check.

        Raises:
            WorkspaceError: If the file is missing or damaged, or belongs to other Gaussians.
        """
        stored = load_tensors(path, remedy=_REMEDY, format=FILE_FORMAT, contents=FIELD)
        tensors, metadata = stored.tensors, stored.metadata
        try:
            features = tensors.pop("features").float()
            weights = {k.removeprefix("decoder."): v for k, v in tensors.items()}
            decoder = _decoder_of(json.loads(metadata["decoder"]), features.shape[1], weights)
            loaded = cls(
                features,
                decoder.eval(),
                metadata["encoder"],
                metadata["splats_hash"],
                dict(json.loads(metadata["stamps"])),
                _asked(metadata.get("asked", "gaussians")),
            )
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise damaged(path, error, _REMEDY) from error
        if gaussians is not None:
            loaded.check(gaussians, str(path))
        return loaded


def _describe(decoder: Decoder) -> Mapping[str, str | int]:
    """A decoder as the file names it; the principal one has no kind there, as before there were others."""
    return decoder.sizes if decoder.kind == PrincipalDecoder.kind else {"kind": decoder.kind} | decoder.sizes


def _decoder_of(described: dict[str, Any], width: int, weights: dict[str, Tensor]) -> Decoder:
    """The decoder that a file describes, with its weights.

    Args:
        described: What `_describe` gave.
        width: Length d of a feature.
        weights: By the decoder's own names.

    Raises:
        ValueError: If the weights are not those of such a decoder, or it takes features of another length.
    """
    sizes = {name: size for name, size in described.items() if name != "kind"}
    kind = described.get("kind", PrincipalDecoder.kind)
    if sizes.get("feature") != width:
        raise ValueError(f"features have {width} numbers, the decoder takes {sizes.get('feature')}")
    with torch.device("meta"):  # shapes alone: a damaged file may ask for more than fits into memory
        wanted = {name: tensor.shape for name, tensor in decoder_of(kind, sizes).state_dict().items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    if found != wanted:
        odd = sorted(name for name in wanted.keys() | found.keys() if found.get(name) != wanted.get(name))
        raise ValueError(f"the weights {odd[0]} are not those of such a decoder")
    decoder = decoder_of(kind, sizes)
    decoder.load_state_dict(weights)
    return decoder


def _asked(word: str) -> Asked:
    """The word of a file, if it is known.

    Raises:
        ValueError: If it is not.
    """
    for known in get_args(Asked):
        if word == known:
            return known
    raise ValueError(f"asked by {word!r}")


def splats_hash(gaussians: Gaussians) -> str:
    """SHA-256 of centres, log-scales and opacity logits; colours and the quaternions' length do not count."""
    return digest(gaussians.means, gaussians.log_scales, gaussians.logit_opacities)
