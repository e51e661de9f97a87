from types import SimpleNamespace

import pytest

from gags.embed.clip.encoder import MULTILINGUAL
from gags.embed.lite.encoder import LiteEncoder
from gags.errors import QueryError
from gags.query.language import check_texts, language_hint

ENGLISH = SimpleNamespace(name="lite@1", english_only=True)


@pytest.mark.parametrize("texts", [["Küche", "red mug"], ["красная кружка"], ["赤いマグ"], ["café"]])
def test_letters_that_english_lacks_bring_a_hint(texts):
    hint = language_hint(texts, ENGLISH)  # type: ignore[arg-type]
    assert repr(texts[0]) in hint
    assert hint.startswith("the encoder lite knows English only")
    assert "red mug" not in hint


@pytest.mark.parametrize("texts", [["red mug"], ["5 € note", "“mug”", "№ 7", "20 °C"], []])
def test_other_signs_bring_none(texts):
    assert language_hint(texts, ENGLISH) == ""  # type: ignore[arg-type]


def test_encoders_that_do_not_say_so_bring_none():
    assert language_hint(["Küche"], SimpleNamespace(name="toy")) == ""  # type: ignore[arg-type]
    assert language_hint(["Küche"], SimpleNamespace(name="x", english_only=False)) == ""  # type: ignore[arg-type]
    assert LiteEncoder.english_only
    assert any(word in "google/siglip2-base-patch16-224" for word in MULTILINGUAL)
    assert not any(word in "laion/clip-vit-b-16-laion2b-s34b-b88k" for word in MULTILINGUAL)


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(QueryError, match=r"'caf\\\\udce9' is no UTF-8"):
        check_texts(["mug", "caf\udce9"])
