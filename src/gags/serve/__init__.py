"""Scenes and libraries over HTTP: JSON for programs and robots, an OpenAPI page for people."""
