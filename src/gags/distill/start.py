"""Where the decoder `principal` and the features start: principal components of the masks' embeddings."""

import torch
from torch import Tensor

from gags.distill.decoder import PrincipalDecoder

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
def start_from_principal_components(decoder: PrincipalDecoder, weight: Tensor, bias: Tensor) -> None:
    """Set a decoder so that it leads principal components back to embeddings; its body starts at 0.

    Args:
        decoder: The decoder; its basis stays.
        weight: From components to coordinates. [r, d]
        bias: The coordinates of no component. [r]
    """
    decoder.skip.weight.copy_(weight)
    decoder.skip.bias.copy_(bias)
    for parameter in decoder.body[-1].parameters():
        parameter.zero_()
