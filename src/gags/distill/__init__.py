"""The language field: which masks see which Gaussians, and how a field is learnt from them."""
