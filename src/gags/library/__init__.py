"""Many scenes in one place: which of them holds what a text names or a picture shows, and where."""
