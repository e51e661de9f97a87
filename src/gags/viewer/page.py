"""The page that asks a server: all its scripts in one, and what it may load in its head.

The policy names the script by its hash, so that no name of a thing, however it is written, becomes a program.
"""

import base64
import hashlib

from gags.viewer.export import SCRIPTS, page_html, script, web_file


def live_page(title: str) -> str:
    """The page for a server, as HTML. title: plain text; it is escaped."""
    joined = "\n".join(script(name) for name in (*SCRIPTS, "wire", "backend_live", "start_live"))
    if "</script" in joined.lower():
        raise ValueError("a script of the page holds what would end it")
    style = web_file("style.css")
    rules = {
        "default-src": "'none'",
        "script-src": _hash(joined),
        "style-src": _hash(style),
        "worker-src": "blob:",
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    policy = "; ".join(f"{rule} {sources}" for rule, sources in rules.items())
    return page_html(title, policy, style, "", f"<script>{joined}</script>")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
