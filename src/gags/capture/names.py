"""Which file a name means, where programs, systems and people write names differently.

The one place that compares names: photos of poses, lists of held-out photos, labels, masks and views that are
asked for all come here.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath

from gags.capture.photos import PICTURE_SUFFIXES, listed
from gags.errors import CaptureError

# Names that are no UTF-8 are taken for the first of these by which most are found: Windows in Western Europe,
# China, Japan, Korea and Russia.
ENCODINGS = ("cp1252", "gb18030", "shift_jis", "euc_kr", "cp1251")
# A file of a scene is called as its photo with ".safetensors" behind; file systems take 255 bytes at most.
MOST_NAME_BYTES = 255 - len(".safetensors")
MOST_SHOWN = 60  # letters of a name that is too long
_MOST_PARTS = 4  # of a name that lies elsewhere, which are compared from its end
_DRIVE = re.compile(r"^[A-Za-z]:/")


def with_slashes(name: str) -> str:
    """The name with forward slashes, without "./" and doubled slashes."""
    name = name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def is_inside(name: str) -> bool:
    """Whether a name lies in the folder that it is looked for in: UTF-8, not absolute, without ".."."""
    tidy = with_slashes(name)
    outside = tidy.startswith("/") or _DRIVE.match(tidy) or ".." in tidy.split("/") or "\\" in name
    return not outside and _is_utf8(name)


def without_suffix(name: str) -> str:
    """The name without the suffix of a picture: "a/b" of "a/b.jpg", but "a/b.x" of "a/b.x"."""
    path = PurePosixPath(name)
    return name[: -len(path.suffix)] if path.suffix.lower() in PICTURE_SUFFIXES else name


def _composed(name: str) -> str:
    """One way to write letters with accents: macOS stores them apart (NFD), most programs as one (NFC)."""
    return unicodedata.normalize("NFC", with_slashes(name))


def _any_case(name: str) -> str:
    return _composed(name).casefold()


def _any_suffix(name: str) -> str:
    return without_suffix(_any_case(name))


# From strict to loose; each also forgives what those before it do.
_WAYS: tuple[Callable[[str], str], ...] = (str, with_slashes, _composed, _any_case, _any_suffix)


def resolve(wanted: Sequence[str], known: Iterable[str]) -> dict[str, str]:
    """Which known name each wanted one means.

    In this order: the same; the same but for separators; for the way accents are stored; for upper and lower
    case; for the suffix; then, in whichever folder it lies, the one of that file name. Each is tried for all
    names before the next one, and what one name means, no other one does. What could mean several is not
    found; nor is a file in another folder, if the folder that the name tells is there.

    Args:
        wanted: Names, of whichever program; bytes that are no UTF-8 as Python's `surrogateescape` keeps them.
        known: Names of what is there, with forward slashes.

    Returns:
        The known name by the wanted one; those that are not found are left out.
    """
    free, found = set(known), dict[str, str]()
    waiting = {name: name for name in wanted if _is_utf8(name)}
    odd = [name for name in dict.fromkeys(wanted) if name not in waiting]
    waiting |= _in_best_encoding(odd, free)
    for way in _WAYS:
        _take(waiting, free, found, way)
        if not waiting:
            return found
    folders = {_folder(_any_case(name)) for name in (*free, *found.values())}
    folders.discard("")  # a name without a folder tells none
    away = {name: text for name, text in waiting.items() if _folder(_any_case(text)) not in folders}
    for way in (_any_case, _any_suffix):
        for parts in range(_MOST_PARTS, 0, -1):
            _take(away, free, found, partial(_end, way=way, parts=parts))
    return found


def _end(name: str, *, way: Callable[[str], str], parts: int) -> str:
    """The last parts of a name: "b/c" of "a/b/c"."""
    return "/".join(way(name).split("/")[-parts:])


def _take(waiting: dict[str, str], free: set[str], found: dict[str, str], way: Callable[[str], str]) -> None:
    """Move names that mean one free one, and this one alone, from `waiting` to `found`."""
    there, asking = _grouped({name: name for name in free}, way), _grouped(waiting, way)
    for key, names in asking.items():
        if len(names) == 1 and len(there.get(key, ())) == 1:
            (name,), (file,) = names, there[key]
            found[name] = file
            free.discard(file)
            del waiting[name]


def _grouped(names: Mapping[str, str], way: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, text in names.items():
        groups.setdefault(way(text), []).append(name)
    return groups


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _in_best_encoding(odd: Sequence[str], known: Iterable[str]) -> dict[str, str]:
    """Names that are no UTF-8 as text, in the encoding by which most of them are known."""
    if not odd:
        return {}
    there = {_any_suffix(name) for name in known} | {PurePosixPath(_any_suffix(n)).name for n in known}
    best: tuple[int, dict[str, str]] = (-1, {})
    for encoding in ENCODINGS:
        texts = {name: _decoded(name, encoding) for name in odd}
        hits = sum(
            _any_suffix(text) in there or PurePosixPath(_any_suffix(text)).name in there
            for text in texts.values()
        )
        best = max(best, (hits, texts), key=lambda scored: scored[0])
    return best[1]


def _decoded(name: str, encoding: str) -> str:
    try:
        return name.encode("utf-8", "surrogateescape").decode(encoding)
    except UnicodeError:
        return name


def check_names(names: Iterable[str], where: object) -> None:
    """Refuse names of photos that the files of a scene cannot be called by.

    Args:
        names: With forward slashes.
        where: What the photos belong to, for the message.

    Raises:
        CaptureError: If a name is no UTF-8, or too long.
    """
    names = list(names)
    odd = [name for name in names if not _is_utf8(name)]
    if odd:
        raise CaptureError(
            f"{where}: {len(odd)} photos have names that are not UTF-8 ({listed(odd)}); rename them, best to "
            "letters and digits without accents"
        )
    longest = max(names, key=_longest_part, default="")
    if _longest_part(longest) > MOST_NAME_BYTES:
        raise CaptureError(
            f"{where}: the name of photo {_begin(longest)} has {_longest_part(longest)} bytes, and "
            f"{MOST_NAME_BYTES} are the most; rename it, and its pose"
        )


def _begin(name: str) -> str:
    """The first letters of a name that is too long, as one line: a damaged file may have a page of it."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:MOST_SHOWN]) + "…"


def _longest_part(name: str) -> int:
    return max(len(part.encode("utf-8", "surrogateescape")) for part in name.split("/"))


def say_others(found: Mapping[str, str]) -> str | None:
    """A line that says which photos were found under other names than they are called by; None if none."""
    other = {name: file for name, file in found.items() if name != file}
    if not other:
        return None
    name, file = next(iter(other.items()))
    count = f"{len(other)} photos were" if len(other) > 1 else "1 photo was"
    return f"{count} found under another name (first {listed([name])}: {file})"
