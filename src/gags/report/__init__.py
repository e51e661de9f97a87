"""The folder of pages that shows a scene."""
