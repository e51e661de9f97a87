"""The page that needs no server, as text: what it may load, what is escaped, which file names it takes."""

import base64
import hashlib
import json
import re
import zlib
from pathlib import Path

import pytest
import torch

from gags.cli import main
from gags.errors import QueryError
from gags.query.instances import Instance
from gags.query.names import EVERYDAY
from gags.viewer.export import checked_page, offline_page, page_words, words_json


def test_every_script_and_style_is_allowed_by_its_hash_and_nothing_else():
    page = offline_page("desk", {"scene": b"{}"})
    policy = re.search(r'content="([^"]+)"', page.partition("Content-Security-Policy")[2])
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    assert "unsafe" not in policy[1]
    for rule, tag in (("script-src", "script"), ("style-src", "style")):
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert rules[rule].split() == [f"'sha256-{one}'" for one in hashes]
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)


def test_titles_and_content_are_no_markup():
    nasty = '</title></script><script>alert("1")</script>'
    page = offline_page(nasty, {"scene": json.dumps({"title": nasty}).encode()})
    assert nasty not in page
    assert "alert(" not in page.replace("&lt;script&gt;alert(", "")
    block = re.search(r'id="scene">([^<]*)<', page)
    assert block is not None
    assert json.loads(zlib.decompress(base64.b64decode(block[1]))) == {"title": nasty}


def test_words_name_things_with_pieces_and_scores():
    def instance(thing: int | None, *also: int) -> Instance:
        mask = torch.ones(3, dtype=torch.bool)
        return Instance("mug", mask, 0.87654, lambda: pytest.fail("no box is needed"), thing=thing, also=also)

    told = words_json({"mug": [instance(4, 7), instance(2)], "cat": [], "piece": [instance(None)]})
    assert told == [
        {"word": "mug", "found": [[[4, 7], 0.8765], [[2], 0.8765]]},
        {"word": "cat", "found": []},
        {"word": "piece", "found": []},
    ]


def test_the_list_of_words_holds_what_clicks_are_named_by():
    words = page_words()
    assert 1000 <= len(words) == len(set(words)) <= 2000
    assert set(EVERYDAY) <= set(words)


@pytest.mark.parametrize("name", ["page.txt", "page", "splats.ply"])
def test_a_page_ends_in_html(name):
    with pytest.raises(QueryError, match=r"end it in \.html"):
        checked_page(Path(name))


def test_a_folder_is_no_page(tmp_path, capsys):
    (tmp_path / "page.html").mkdir()
    assert main(["view", str(tmp_path), "--export", str(tmp_path / "page.html")]) == 1
    assert "is a folder; name a file for the page" in capsys.readouterr().err
