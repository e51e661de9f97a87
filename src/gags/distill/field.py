"""The language field: one short feature a Gaussian, and the decoder that turns it into an embedding."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from gags.errors import WorkspaceError
from gags.gaussians import Gaussians
from gags.store import damaged, digest, load_tensors, save_tensors

FILE_FORMAT = "gags-field-1"
GRANULARITY_HIDDEN = 64  # three logits need no more; the released program's six layers learn no faster
DECODED_AT_ONCE = 1 << 16  # features decoded at once, to bound memory
_REMEDY = "run `gags distill` again"
KEPT_BYTES = 1 << 30  # of decoded Gaussians, and of remembered cosines; more is computed at every query


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of a decoder.

    Attributes:
        feature: Length d of a Gaussian's feature.
        hidden: Width of the hidden layers.
        rank: Number r of principal directions of the scene's embeddings that it writes into.
        dim: Length D of the encoder's embeddings.
    """

    feature: int
    hidden: int
    rank: int
    dim: int


class Decoder(nn.Module):
    """Feature → embedding and granularity logits (GAGS Eq. 2).

    The embedding is `normalise(basis · z)` with z = skip(f) + body(f). `basis` [D, r] holds orthonormal
    principal directions of the scene's embeddings and does not learn, so that cosines with a vector v of the
    encoder's space are cosines with basisᵀ·v: nothing of length D is needed to train or to query.
    """

    basis: Tensor

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("basis", torch.zeros(shape.dim, shape.rank))
        self.skip = nn.Linear(shape.feature, shape.rank)
        self.body = nn.Sequential(
            nn.Linear(shape.feature, shape.hidden),
            nn.ReLU(),
            nn.Linear(shape.hidden, shape.hidden),
            nn.ReLU(),
            nn.Linear(shape.hidden, shape.rank),
        )
        self.levels = nn.Sequential(
            nn.Linear(shape.feature, GRANULARITY_HIDDEN),
            nn.ReLU(),
            nn.Linear(GRANULARITY_HIDDEN, GRANULARITY_HIDDEN),
            nn.ReLU(),
            nn.Linear(GRANULARITY_HIDDEN, 3),
        )

    def coordinates(self, features: Tensor) -> Tensor:
        """Unit embeddings in the coordinates of `basis`. [..., d] → [..., r]"""
        return normalize(self.skip(features) + self.body(features), dim=-1)

    def embeddings(self, features: Tensor) -> Tensor:
        """Unit embeddings in the encoder's space. [..., d] → [..., D]; large, for few features only."""
        return self.coordinates(features) @ self.basis.T

    def granularity(self, features: Tensor) -> Tensor:
        """Logits of the levels sub-part, part and whole. [..., d] → [..., 3]"""
        return self.levels(features)

    def fold(self, vectors: Tensor) -> Tensor:
        """Vectors of the encoder's space in the coordinates of `basis`, as columns. [T, D] → [r, T]"""
        return (vectors.to(self.basis) @ self.basis).T

    @torch.no_grad()
    def similarities(self, features: Tensor, vectors: Tensor) -> Tensor:
        """Cosines of decoded features with vectors of the encoder's space, at no cost that grows with D·P.

        Args:
            features: Features as rendered or as stored. [P, d]
            vectors: L2-normalised embeddings, e.g. of texts. [T, D]

        Returns:
            Cosines. [P, T]
        """
        folded = self.fold(vectors)
        return torch.cat([self.coordinates(chunk) @ folded for chunk in features.split(DECODED_AT_ONCE)])


@dataclass(frozen=True, eq=False)
class Similarities:
    """Cosines of every Gaussian with some vectors.

    Attributes:
        cosines: [N, C]
        largest: Of each Gaussian. [N]
    """

    cosines: Tensor
    largest: Tensor


@dataclass(eq=False)
class LanguageField:
    """What distillation leaves behind: language for the Gaussians of one splats file.

    Attributes:
        features: Feature of each Gaussian. float32 [N, d]
        decoder: Turns features, blended or not, into embeddings.
        encoder_name: Encoder whose space the embeddings live in.
        splats_hash: `splats_hash` of the Gaussians the features belong to.
        stamps: Hashes of settings and inputs, by stage name.
    """

    features: Tensor
    decoder: Decoder
    encoder_name: str
    splats_hash: str
    stamps: dict[str, str] = field(default_factory=dict)
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
        )

    def similarities(self, vectors: Tensor) -> Tensor:
        """Cosines of every Gaussian with vectors of the encoder's space, e.g. of texts.

        The Gaussians are decoded once and kept, N·r numbers; `features` and `decoder` must not change after.

        Args:
            vectors: L2-normalised embeddings. [T, D]

        Returns:
            Cosines. [N, T]
        """
        if self._coordinates is None:
            return self.decoder.similarities(self.features, vectors)
        return self._coordinates @ self.decoder.fold(vectors)

    @torch.no_grad()
    def remembered_similarities(self, vectors: Tensor) -> Similarities | None:
        """`similarities` with vectors that many queries share, as canonical phrases; N·C numbers are kept.

        Only the vectors of the last call are remembered, and known again by being the same tensor, not an
        equal one; they must not be written into.

        Args:
            vectors: L2-normalised embeddings. [C, D], C ≥ 1

        Returns:
            The cosines, not to be written into; None if they are too much to keep.
        """
        if 4 * len(self) * len(vectors) > KEPT_BYTES:
            return None
        remembered = self._remembered  # read once: threads may ask with other vectors meanwhile
        if remembered is None or remembered[0] is not vectors:
            cosines = self.similarities(vectors)
            remembered = self._remembered = vectors, Similarities(cosines, cosines.amax(dim=-1))
        return remembered[1]

    @cached_property
    def _coordinates(self) -> Tensor | None:
        """Every Gaussian decoded [N, r]; None if that is too much to keep."""
        if 4 * len(self) * self.decoder.shape.rank > KEPT_BYTES:
            return None
        with torch.no_grad():
            return torch.cat(
                [self.decoder.coordinates(chunk) for chunk in self.features.split(DECODED_AT_ONCE)]
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
            "decoder": json.dumps(vars(self.decoder.shape)),
            "splats_count": str(len(self)),
            "splats_hash": self.splats_hash,
            "stamps": json.dumps(self.stamps),
        }
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
        stored = load_tensors(path, remedy=_REMEDY, format=FILE_FORMAT)
        tensors, metadata = stored.tensors, stored.metadata
        try:
            features = tensors.pop("features").float()
            decoder = Decoder(DecoderShape(**json.loads(metadata["decoder"])))
            decoder.load_state_dict({k.removeprefix("decoder."): v for k, v in tensors.items()})
            stamps = json.loads(metadata["stamps"])
            loaded = cls(features, decoder.eval(), metadata["encoder"], metadata["splats_hash"], stamps)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise damaged(path, error, _REMEDY) from error
        if gaussians is not None:
            loaded.check(gaussians, str(path))
        return loaded


def splats_hash(gaussians: Gaussians) -> str:
    """SHA-256 of centres, log-scales and opacity logits; colours and the quaternions' length do not count."""
    return digest(gaussians.means, gaussians.log_scales, gaussians.logit_opacities)


ENERGY = 0.99  # share of the embeddings' energy that the decoder's basis must hold ...
MAX_RANK = 128  # ... if that many directions can do it; more cost time and carry noise


def principal_basis(embeddings: Tensor, *, energy: float = ENERGY, max_rank: int = MAX_RANK) -> Tensor:
    """Fewest orthonormal directions that hold a share of the energy of all embeddings (mean included).

    Args:
        embeddings: One embedding a mask, of all photos. [M, D]
        energy: Share of the sum of squares to hold.
        max_rank: Upper bound on the number of directions.

    Returns:
        Orthonormal columns, strongest first. float32 [D, r]
    """
    dim = embeddings.shape[1]
    second_moment = torch.zeros(dim, dim, dtype=torch.float64, device=embeddings.device)
    for chunk in embeddings.split(4096):
        chunk = chunk.double()
        second_moment += chunk.T @ chunk
    values, vectors = torch.linalg.eigh(second_moment)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    share = values.cumsum(0) / values.sum()
    rank = int((share < energy).sum()) + 1
    return vectors[:, : min(rank, max_rank, dim)].float()


def principal_features(coordinates: Tensor, feature_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Centred principal components of the masks' coordinates, scaled to unit variance overall.

    Args:
        coordinates: Embeddings in the decoder's basis. [M, r]
        feature_dim: Number d of components.

    Returns:
        Components of every mask [M, d], and weight [r, d] and bias [r] that lead back to coordinates.
    """
    bias = coordinates.mean(dim=0)
    centred = coordinates - bias
    _, vectors = torch.linalg.eigh((centred.T @ centred).double())
    directions = vectors.flip(1)[:, :feature_dim].float()
    if directions.shape[1] < feature_dim:  # fewer directions than features: the rest carries nothing yet
        missing = feature_dim - directions.shape[1]
        directions = torch.cat([directions, directions.new_zeros(len(directions), missing)], dim=1)
    components = centred @ directions
    scale = components.square().mean().sqrt().clamp(min=1e-6)
    return components / scale, directions * scale, bias


@torch.no_grad()
def start_from_principal_components(decoder: Decoder, basis: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Set a decoder so that it leads principal components back to embeddings; its body starts at 0."""
    decoder.basis.copy_(basis)
    decoder.skip.weight.copy_(weight)
    decoder.skip.bias.copy_(bias)
    for parameter in decoder.body[-1].parameters():
        parameter.zero_()
