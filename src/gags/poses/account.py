"""What became of the photos, in words: how many were placed, why others were not, what to do."""

from dataclasses import dataclass

from gags.capture.photos import listed

FEW_FEATURES = 300  # a photo of a textured place has thousands
FEW_MATCHES = 60  # inliers with the best partner; 15 are the least that count at all
GOOD_SHARE = 0.9  # of the photos placed: nothing to complain about

SHARPER = (
    "photograph textured things in good light and hold still; plain walls, glass and blur give nothing to "
    "hold on to"
)
CLOSER = "take photos closer together, so that neighbours share two thirds of what they show"
BETWEEN = "add photos in between that show both"
STEP_ASIDE = (
    "step sideways between photos instead of turning on the spot, since turning alone shows no depth; and "
    "leave out photos in which things moved"
)


@dataclass(frozen=True)
class PhotoFate:
    """What became of one photo.

    Attributes:
        name: File name.
        features: How many features were found.
        matches: Verified matches with the photo that it shares most with.
        group: Number of the connected group of poses it is in, largest first; None if it was not placed.
    """

    name: str
    features: int
    matches: int
    group: int | None = None


@dataclass(frozen=True)
class Account:
    """The result in words.

    Attributes:
        placed: How many photos are in the largest group.
        total: How many photos there are.
        summary: One line.
        advice: Reasons and remedies, most important first; empty if all is well.
    """

    placed: int
    total: int
    summary: str
    advice: list[str]

    @property
    def share(self) -> float:
        """Share of the photos that were placed."""
        return self.placed / self.total if self.total else 0.0


def account(fates: list[PhotoFate], points: int = 0, error_px: float | None = None) -> Account:
    """Say what became of the photos.

    Args:
        fates: All photos.
        points: Sparse points found.
        error_px: Mean reprojection error in pixels, if there is one.
    """
    placed = [fate for fate in fates if fate.group == 0]
    error = "" if error_px is None else f", reprojection error {error_px:.2f} px"
    summary = f"{len(placed)} of {len(fates)} photos placed, {points} points{error}"
    advice = []
    if len(placed) < GOOD_SHARE * len(fates) or len(placed) < 3:
        advice = _advice(fates)
    return Account(len(placed), len(fates), summary, advice)


def _advice(fates: list[PhotoFate]) -> list[str]:
    lost = [fate for fate in fates if fate.group is None]
    reasons: list[tuple[int, str]] = []

    def add(those: list[PhotoFate], what: str, remedy: str) -> None:
        if those:
            names = listed([fate.name for fate in those])
            reasons.append((len(those), f"{len(those)} {what} ({names}): {remedy}"))

    bare = [fate for fate in lost if fate.features < FEW_FEATURES]
    lonely = [fate for fate in lost if fate not in bare and fate.matches < FEW_MATCHES]
    others = [fate for fate in lost if fate not in bare and fate not in lonely]
    apart = [fate for fate in fates if fate.group]
    add(bare, "show too little texture", SHARPER)
    add(lonely, "share too little with any other", CLOSER)
    add(others, "match others, but give no depth", STEP_ASIDE)
    groups = len({fate.group for fate in apart})
    add(apart, f"were placed apart from the rest, in {groups} group{'s' if groups > 1 else ''}", BETWEEN)
    return [text for _, text in sorted(reasons, key=lambda reason: -reason[0])]
