"""A scene in the browser."""
