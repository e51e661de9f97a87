"""Asking: relevancy, answers in a view, instances in 3D, names."""
