"""Many scenes, one machine or many: the same stages on a cluster, through Ray."""
