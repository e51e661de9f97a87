"""Texts that an encoder was not trained on: a hint for those that can be told by their letters."""

from collections.abc import Sequence

from gags.embed.encoder import Encoder
from gags.errors import QueryError


def check_texts(texts: Sequence[str]) -> None:
    """Make sure that texts are text: not bytes of another encoding, as a terminal may hand them over.

    Raises:
        QueryError: If one is not.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            shown = text.encode("utf-8", "backslashreplace").decode()
            raise QueryError(
                f"the text {shown!r} is no UTF-8; type it in a terminal that uses UTF-8"
            ) from error


def language_hint(texts: Sequence[str], encoder: Encoder) -> str:
    """A line for texts with letters that English does not have, if the encoder says that it knows no other.

    Texts in other languages without such letters cannot be told: "rote Tasse" is answered without a hint.

    Returns:
        The line; empty if there is nothing to say.
    """
    if not getattr(encoder, "english_only", False):
        return ""
    foreign = [text for text in texts if any(letter.isalpha() and not letter.isascii() for letter in text)]
    if not foreign:
        return ""
    listed = ", ".join(repr(text) for text in foreign[:3]) + (" …" if len(foreign) > 3 else "")
    return (
        f"the encoder {encoder.name.partition('@')[0]} knows English only: what it finds for {listed} means "
        "little; ask in English, or describe the scene with a multilingual encoder"
    )
