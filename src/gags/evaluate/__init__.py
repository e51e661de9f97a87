"""Labels, metrics and the named protocols that score answers."""
