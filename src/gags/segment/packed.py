"""Single masks cut to a window, and many of them at the photo's size in little memory: one bit a pixel."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit, prange

from gags.simd.cache import kernel

WORD = 64  # px of a row that one word holds


@dataclass(eq=False)
class CroppedMask:
    """One mask at the size of the photo, cut to a window.

    Attributes:
        mask: bool [h, w]
        x: Left edge of the window, px.
        y: Top edge of the window, px.
    """

    mask: np.ndarray
    x: int
    y: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the photo that the window covers."""
        return slice(self.y, self.y + self.mask.shape[0]), slice(self.x, self.x + self.mask.shape[1])

    def tight(self) -> "CroppedMask":
        """The same mask in the smallest window that holds it; [0, 0] if it has no pixel."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        if not len(rows):
            return CroppedMask(self.mask[:0, :0], self.x, self.y)
        y, x = int(rows[0]), int(columns[0])
        return CroppedMask(self.mask[y : rows[-1] + 1, x : columns[-1] + 1], self.x + x, self.y + y)


@dataclass(eq=False)
class PackedMasks(Sequence[CroppedMask]):
    """Masks of one photo, a bit a pixel; each is unpacked when it is asked for.

    A mask has the rows of its box, one behind the other, from the last multiple of 64 px that is not right of
    x1 to the first that is not left of x2. So the words of two masks stand for the same pixels.

    Attributes:
        words: The masks, one behind the other; the lowest bit of a word is its leftmost pixel. uint64 [W]
        boxes: x1, y1, x2, y2 of each mask in px, the far edges exclusive; bits outside are 0. int32 [M, 4]
        starts: First word of each mask, and the end. int64 [M + 1]
    """

    words: np.ndarray
    boxes: np.ndarray
    starts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        x1, y1, x2, y2 = self.boxes.astype(np.int64).reshape(-1, 4).T
        self.starts = np.concatenate([[0], np.cumsum((y2 - y1) * (-(-x2 // WORD) - x1 // WORD))])
        if self.starts[-1] != len(self.words):
            raise ValueError(f"boxes of masks hold {self.starts[-1]} words, not {len(self.words)}")

    @classmethod
    def pack(cls, masks: Iterable[CroppedMask]) -> "PackedMasks":
        """Pack masks, one after the other; each must have a pixel."""
        words, boxes = [np.zeros(0, np.uint64)], []
        for cropped in map(CroppedMask.tight, masks):
            height, width = cropped.mask.shape
            left, right = cropped.x // WORD * WORD, -(-(cropped.x + width) // WORD) * WORD
            around = (cropped.x - left, right - cropped.x - width)
            bits = np.packbits(np.pad(cropped.mask, ((0, 0), around)), axis=1, bitorder="little")
            words.append(bits.view("<u8").ravel().astype(np.uint64, copy=False))
            boxes.append((cropped.x, cropped.y, cropped.x + width, cropped.y + height))
        return cls(np.concatenate(words), np.array(boxes, np.int32).reshape(-1, 4))

    def take(self, rows: Iterable[int]) -> "PackedMasks":
        """Some of the masks, in the order of `rows`."""
        rows = [int(row) for row in rows]
        words = [np.zeros(0, np.uint64)]
        words += [self.words[self.starts[row] : self.starts[row + 1]] for row in rows]
        return PackedMasks(np.concatenate(words), self.boxes[rows])

    @classmethod
    def joined(cls, parts: Sequence["PackedMasks"]) -> "PackedMasks":
        """The masks of all parts, one part behind the other."""
        boxes = [np.zeros((0, 4), np.int32), *(part.boxes for part in parts)]
        words = [np.zeros(0, np.uint64), *(part.words for part in parts)]
        return cls(np.concatenate(words), np.concatenate(boxes))

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, row: int) -> CroppedMask:  # type: ignore[override]
        x1, y1, x2, y2 = (int(edge) for edge in self.boxes[row])
        words = self.words[self.starts[row] : self.starts[row + 1]].astype("<u8", copy=False)
        bits = words.reshape(y2 - y1, -1).view(np.uint8)
        skipped = x1 % WORD
        mask = np.unpackbits(bits, axis=1, count=skipped + x2 - x1, bitorder="little")
        return CroppedMask(mask[:, skipped:].astype(bool), x1, y1)

    def overlaps(self) -> np.ndarray:
        """Number of px that each two masks share; the diagonal holds their areas. int64 [M, M]"""
        return _overlaps(self.words, self.starts, self.boxes.astype(np.int64))


@njit(inline="always")
def count_bits(word: Any) -> Any:
    """Number of bits set in a word, with sums of 2, 4 and 8 bits side by side, then of all bytes."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    fours = np.uint64(0x3333333333333333)
    word = (word & fours) + ((word >> np.uint64(2)) & fours)
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@kernel(parallel=True)
def _overlaps(words: np.ndarray, starts: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Number of bits set in both of each two packed masks, counted where their boxes meet.

    Args:
        words: uint64 [W]
        starts: int64 [M + 1]
        boxes: int64 [M, 4]

    Returns:
        int64 [M, M]
    """
    count = len(boxes)
    shared = np.zeros((count, count), np.int64)
    first = boxes[:, 0] // WORD  # columns of words of each mask
    last = (boxes[:, 2] + WORD - 1) // WORD
    for i in prange(count):
        for j in range(i + 1):
            low, high = max(first[i], first[j]), min(last[i], last[j])
            total = np.uint64(0)
            for y in range(max(boxes[i, 1], boxes[j, 1]), min(boxes[i, 3], boxes[j, 3])):
                a = starts[i] + (y - boxes[i, 1]) * (last[i] - first[i]) - first[i]
                b = starts[j] + (y - boxes[j, 1]) * (last[j] - first[j]) - first[j]
                for column in range(low, high):
                    total += count_bits(words[a + column] & words[b + column])
            shared[i, j] = np.int64(total)
            shared[j, i] = np.int64(total)
    return shared
