"""Which points lie within the convex hull of some of them, outliers left out.

Own code since SciPy, which has it, is no dependency: 40 MB for this one function.
"""

import numpy as np

OUTLIER_FACTOR = 1.0  # of the interquartile range beyond the quartiles; farther points are outliers
FLATNESS = 1e-9  # of the size of a set: thinner ones have no inside


def inliers(points: np.ndarray) -> np.ndarray:
    """Points that on no axis lie farther from the middle half than the length of that half.

    Args:
        points: [n, 3]

    Returns:
        bool [n]
    """
    low, high = np.quantile(points, [0.25, 0.75], axis=0)
    reach = OUTLIER_FACTOR * (high - low)
    return ((points >= low - reach) & (points <= high + reach)).all(axis=1)


def inside_hull(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Which points lie within the convex hull of others, or on it.

    Args:
        points: [n, 3]
        corners: Points whose hull is taken. [m, 3]

    Returns:
        bool [n]; all False if the corners lie in one plane, so that their hull has no inside.
    """
    inside = np.ones(len(points), bool)
    planes = hull_planes(corners)
    if not len(planes):
        return ~inside
    slack = FLATNESS * max(float(np.ptp(corners, axis=0).max()), 1e-300)
    for normal in planes:  # some hundred at most; one after the other bounds memory
        inside &= points @ normal[:3] <= normal[3] + slack
    return inside


def hull_planes(points: np.ndarray) -> np.ndarray:
    """The faces of a convex hull, by quickhull (Barber et al. 1996).

    A face is beneath its plane n·x = d. A point above some faces replaces them by new ones between it and
    the rim of what it sees; points above none of the new faces are inside and forgotten.

    Args:
        points: [n, 3]

    Returns:
        Outward unit normal and d of each face, float64 [F, 4]; none if all points lie in one plane.
    """
    points = np.unique(np.asarray(points, np.float64), axis=0)
    slack = FLATNESS * float(np.ptp(points, axis=0).max()) if len(points) else 0.0
    faces = _first_faces(points, slack)
    if faces is None:
        return np.zeros((0, 4))
    planes = _planes(points, faces)
    outside = np.arange(len(points))
    owner, height = _highest(points, planes)
    while True:
        # Points are kept with one face that they are above; those above none are inside.
        above = height > slack
        outside, owner, height = outside[above], owner[above], height[above]
        if not len(outside):
            return planes
        apex = int(outside[height.argmax()])  # the highest point is a corner of the hull
        seen = planes[:, :3] @ points[apex] - planes[:, 3] > slack
        new = _rim(faces[seen], apex)
        freed = seen[owner]
        owner = (np.cumsum(~seen) - 1)[owner]
        faces = np.concatenate([faces[~seen], new])
        planes = np.concatenate([planes[~seen], _planes(points, new)])
        first = len(planes) - len(new)
        owner[freed], height[freed] = _highest(points[outside[freed]], planes[first:])
        owner[freed] += first


def _highest(points: np.ndarray, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The plane that each point lies highest above, and how high. [n, 3], [F, 4] → [n], [n]"""
    above = points @ planes[:, :3].T - planes[:, 3]
    highest = above.argmax(axis=1)
    return highest, above[np.arange(len(points)), highest]


def _first_faces(points: np.ndarray, slack: float) -> np.ndarray | None:
    """Four faces of a tetrahedron of far points, or None if there is none. int64 [4, 3]"""
    if len(points) < 4:
        return None
    a = int(points[:, 0].argmin())
    b = int(np.linalg.norm(points - points[a], axis=1).argmax())
    along = points[b] - points[a]
    off_line = np.linalg.norm(np.cross(points - points[a], along), axis=1) / np.linalg.norm(along)
    c = int(off_line.argmax())
    if off_line[c] <= slack:
        return None
    normal = _planes(points, np.array([[a, b, c]]))[0, :3]
    height = (points - points[a]) @ normal
    d = int(np.abs(height).argmax())
    if abs(height[d]) <= slack:
        return None
    if height[d] > 0:  # the first face must have the fourth point beneath
        b, c = c, b
    return np.array([[a, b, c], [a, d, b], [b, d, c], [c, d, a]])


def _planes(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normal and offset of faces, corners anticlockwise as seen from outside. [F, 3] → [F, 4]"""
    a, b, c = (points[faces[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    return np.concatenate([normals, (normals * a).sum(axis=1, keepdims=True)], axis=1)


def _rim(seen: np.ndarray, apex: int) -> np.ndarray:
    """Faces between a point and the rim of the faces that it sees. int64 [S, 3] → [R, 3]"""
    edges = np.concatenate([seen[:, [0, 1]], seen[:, [1, 2]], seen[:, [2, 0]]])
    there = set(map(tuple, edges.tolist()))
    # An edge within what is seen is there in both directions.
    rim = np.array([edge for edge in edges.tolist() if (edge[1], edge[0]) not in there], np.int64)
    return np.column_stack([rim, np.full(len(rim), apex)])
