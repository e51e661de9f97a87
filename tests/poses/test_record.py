"""What became of the photos, in words."""

from gags.poses.record import (
    MORE_BETWEEN,
    MORE_OVERLAP,
    MORE_PARALLAX,
    MORE_TEXTURE,
    PhotoResult,
    search_result,
)


def photos(*rows: tuple[int, int, int | None]) -> list[PhotoResult]:
    return [PhotoResult(f"{i}.jpg", *row) for i, row in enumerate(rows)]


def test_all_is_well():
    result = search_result(photos(*[(2000, 400, 0)] * 10), 1234, 0.5)
    assert result.summary == "10 of 10 photos placed, 1234 points, reprojection error 0.50 px"
    assert result.advice == []
    assert result.share == 1


def test_one_lost_of_ten_is_no_reason_to_complain():
    rows = [(2000, 400, 0)] * 9 + [(10, 0, None)]
    assert search_result(photos(*rows)).advice == []


def test_every_reason_has_its_remedy_commonest_first():
    rows = [(2000, 400, 0)] * 4
    rows += [(299, 500, None)]  # too few keypoints, whatever else
    rows += [(300, 59, None)] * 3  # enough keypoints, few matches
    rows += [(300, 60, None)] * 2  # both, and still no depth
    rows += [(2000, 400, 1)] * 4
    result = search_result(photos(*rows))
    assert result.summary == "4 of 14 photos placed, 0 points"
    assert result.advice == [
        f"4 were placed apart from the rest, in 1 group (10.jpg, 11.jpg, 12.jpg and 1 more): {MORE_BETWEEN}",
        f"3 share too little with any other (5.jpg, 6.jpg, 7.jpg): {MORE_OVERLAP}",
        f"2 match others, but give no depth (8.jpg, 9.jpg): {MORE_PARALLAX}",
        f"1 show too little texture (4.jpg): {MORE_TEXTURE}",
    ]


def test_nothing_placed():
    result = search_result(photos((0, 0, None), (5, 0, None), (9, 0, None)))
    assert (result.placed, result.total, result.share) == (0, 3, 0.0)
    assert len(result.advice) == 1


def test_rows_of_the_record():
    """Names in the file stay as they were, whatever they are called in code."""
    row = PhotoResult("a.jpg", 2000, 400, 0).as_json()
    assert row == {"name": "a.jpg", "features": 2000, "matches": 400, "group": 0}
