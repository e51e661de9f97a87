"""An image embedding, looked up at places of the photo."""

import numpy as np
import torch
from torch.nn import functional


def sampled(embedding: torch.Tensor, shares: np.ndarray) -> np.ndarray:
    """An image embedding [C, h, w] at places given as shares of its frame. [P, 2] to float32 [P, C]

    Beyond the centres of its outermost cells, the nearest of these counts.
    """
    height, width = embedding.shape[1:]
    # What padding_mode="border" does; Apple's GPU has that only since torch 2.13.
    inner = 1 - 1 / np.array([width, height])
    places = torch.from_numpy(np.clip(2 * shares - 1, -inner, inner).astype(np.float32))
    found = functional.grid_sample(
        embedding.float()[None],
        places[None, None].to(embedding.device),
        padding_mode="zeros",
        align_corners=False,
    )
    return found[0, :, 0].T.cpu().numpy()
