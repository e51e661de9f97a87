"""A decoder that learns nothing: a feature holds its own embedding and logits."""

from torch import Tensor

from gags.distill.decoder import Decoder


class PlainDecoder(Decoder):
    """The first D numbers of a feature are the embedding, whatever its length; the next three the logits.

    Args:
        dim: Length D of the embedding.
    """

    kind = "plain"

    def __init__(self, dim: int) -> None:
        super().__init__()
        self._dim = dim

    @property
    def dim(self) -> int:
        return self._dim

    def coordinates(self, features: Tensor) -> Tensor:
        return features[..., : self._dim]

    def granularity(self, features: Tensor) -> Tensor:
        return features[..., self._dim : self._dim + 3]
