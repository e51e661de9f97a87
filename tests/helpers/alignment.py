"""Poses found from photos alone are right up to a similarity; this finds it."""

import numpy as np


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The similarity that maps points best onto others: target ≈ s · R · source + t (Umeyama 1991).

    Args:
        source: Points. [N, 3]
        target: Where they should go. [N, 3]

    Returns:
        Scale s, rotation R [3, 3], translation t [3].
    """
    mean_source, mean_target = source.mean(axis=0), target.mean(axis=0)
    a, b = source - mean_source, target - mean_target
    u, singular, vt = np.linalg.svd(b.T @ a / len(a))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    R = u @ np.diag(sign) @ vt
    scale = float((singular * sign).sum() / (a**2).sum(axis=1).mean())
    return scale, R, mean_target - scale * R @ mean_source
