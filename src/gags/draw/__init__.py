"""Arrays become pictures."""
