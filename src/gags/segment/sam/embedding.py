"""An image embedding, looked up at places of the photo."""

import numpy as np
import torch
from torch.nn import functional


def sampled(embedding: torch.Tensor, shares: np.ndarray) -> np.ndarray:
    """An image embedding [C, h, w] at places given as shares of its frame. [P, 2] to float32 [P, C]"""
    places = torch.from_numpy((2 * shares - 1).astype(np.float32))[None, None].to(embedding.device)
    found = functional.grid_sample(
        embedding.float()[None], places, padding_mode="border", align_corners=False
    )
    return found[0, :, 0].T.cpu().numpy()
