"""Baselines and ablations beside the method: same Gaussians, same masks, same encoder, one table."""
