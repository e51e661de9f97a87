"""Pictures for surfaces, made from noise: wood, cloth, brick, paintings. 8-bit sRGB [H,W,3] unless said."""

import cv2
import numpy as np

BOOK_COVERS = (
    (0.42, 0.10, 0.10),
    (0.12, 0.17, 0.30),
    (0.14, 0.26, 0.19),
    (0.34, 0.22, 0.14),
    (0.82, 0.76, 0.63),
    (0.66, 0.47, 0.20),
    (0.13, 0.12, 0.13),
    (0.50, 0.50, 0.48),
    (0.24, 0.40, 0.46),
    (0.62, 0.28, 0.18),
)
"""Cloth and paper of books, sRGB."""


def noise(
    height: int, width: int, rng: np.random.Generator, *, slope: float = 1.8, stretch: float = 1.0
) -> np.ndarray:
    """Tileable noise whose spectrum falls with frequency^-slope, mean 0 and deviation 1.

    Args:
        height: Rows.
        width: Columns.
        rng: Source of randomness.
        slope: 0 is white, 2 is cloudy.
        stretch: How much longer the structures are along x than along y.

    Returns:
        float64 [height, width].
    """
    fy = np.fft.fftfreq(height)[:, None] * height
    fx = np.fft.rfftfreq(width)[None] * width * stretch * height / width
    amplitude = np.maximum(np.hypot(fx, fy), 1.0) ** -slope
    amplitude[0, 0] = 0.0
    phase = np.exp(2j * np.pi * rng.random(amplitude.shape)) * rng.rayleigh(size=amplitude.shape)
    field = np.fft.irfft2(amplitude * phase, s=(height, width))
    return (field - field.mean()) / field.std()


def grain(
    rng: np.random.Generator, *, contrast: float = 0.1, slope: float = 0.9, size: int = 512
) -> np.ndarray:
    """Grey noise around 1.0 that breaks up a flat colour. float64 [size,size]"""
    return np.clip(1.0 + contrast * noise(size, size, rng, slope=slope), 0.3, 1.6)


def _finish(colors: np.ndarray) -> np.ndarray:
    return np.clip(np.round(colors * 255.0), 0, 255).astype(np.uint8)


def _mix(low: tuple[float, ...], high: tuple[float, ...], amount: np.ndarray) -> np.ndarray:
    amount = np.clip(amount, 0, 1)[..., None]
    return np.asarray(low) * (1 - amount) + np.asarray(high) * amount


def wood(
    height: int,
    width: int,
    rng: np.random.Generator,
    *,
    planks: int,
    cuts: int,
    dark: tuple[float, float, float],
    light: tuple[float, float, float],
) -> np.ndarray:
    """Boards side by side along x, each cut in `cuts` lengths, with rings, fibres and knots of their own."""
    result = np.zeros((height, width, 3))
    edges = np.linspace(0, height, planks + 1).astype(int)
    for row in range(planks):
        offset = int(rng.integers(width))
        lengths = np.linspace(0, width, cuts + 1).astype(int)
        board = np.zeros((edges[row + 1] - edges[row], width, 3))
        for i in range(cuts):
            size = (board.shape[0], lengths[i + 1] - lengths[i])
            y = np.linspace(0, 1, size[0])[:, None] + rng.random()
            warp = 0.16 * noise(*size, rng, slope=2.2, stretch=5.0)
            rings = 0.5 + 0.5 * np.sin(2 * np.pi * (y + warp) * rng.uniform(4.0, 8.0))
            fibres = noise(*size, rng, slope=0.75, stretch=45.0)
            clouds = noise(*size, rng, slope=1.7, stretch=2.0)
            shade = 0.45 + 0.30 * (rings - 0.5) + 0.13 * fibres + 0.08 * clouds + rng.normal(0, 0.09)
            board[:, lengths[i] : lengths[i + 1]] = _mix(dark, light, shade)
            board[:, lengths[i] : lengths[i] + max(2, width // 900)] *= 0.45
        board[: max(2, height // 500)] *= 0.45
        result[edges[row] : edges[row + 1]] = np.roll(board, offset, axis=1)
    return _finish(result)


def bricks(height: int, width: int, rng: np.random.Generator, *, courses: int, per_course: int) -> np.ndarray:
    """A running bond of old red bricks with light mortar."""
    rows, columns = np.mgrid[0:height, 0:width]
    wobble = 0.0035 * height * noise(height, width, rng, slope=1.6)
    y = (rows + wobble) / height * courses
    course = np.floor(y).astype(int) % courses
    x = (columns + np.roll(wobble, 77, axis=1)) / width * per_course + 0.5 * (course % 2)
    brick = np.floor(x).astype(int) % per_course
    to_edge_y = 0.5 - np.abs(y - np.floor(y) - 0.5)
    to_edge_x = (0.5 - np.abs(x - np.floor(x) - 0.5)) * (width / per_course) / (height / courses)
    inside = np.clip((np.minimum(to_edge_x, to_edge_y) - 0.06) / 0.04, 0, 1)[..., None]
    tone = rng.normal(0, 1, (courses, per_course))[course, brick]
    rough = noise(height, width, rng, slope=1.0)
    clouds = noise(height, width, rng, slope=1.8)
    clay = _mix((0.40, 0.17, 0.12), (0.78, 0.45, 0.33), 0.5 + 0.17 * tone + 0.10 * rough + 0.08 * clouds)
    mortar = _mix((0.62, 0.58, 0.52), (0.86, 0.82, 0.76), 0.5 + 0.18 * rough + 0.1 * clouds)
    return _finish(clay * inside + mortar * (1 - inside))


def wallpaper(size: int, rng: np.random.Generator) -> np.ndarray:
    """A tile of leafy sprigs and dots in two greens and ochre on cream."""
    canvas = np.ones((size, size, 3), np.float32) * np.float32([0.86, 0.83, 0.74])
    colors = [(0.36, 0.47, 0.38), (0.50, 0.58, 0.44), (0.72, 0.52, 0.28), (0.62, 0.34, 0.28)]
    for center_x, center_y, turn in ((0.25, 0.25, 0.0), (0.75, 0.75, 160.0)):
        for i in range(9):
            t = i / 8
            angle = turn + 65 * np.sin(2.2 * t * np.pi)
            along = np.radians(turn + 35 * np.sin(np.pi * t))
            x = (center_x + (t - 0.5) * 0.46 * np.sin(along + 0.5)) * size
            y = (center_y + (t - 0.5) * 0.46 * np.cos(along + 0.5)) * size
            for side in (-1, 1):
                reach = size * (0.055 - 0.025 * abs(t - 0.4))
                at = (
                    x + side * reach * np.cos(np.radians(angle)),
                    y + side * reach * np.sin(np.radians(angle)),
                )
                shape = (int(reach), int(reach * 0.36))
                _wrapped_ellipse(canvas, at, shape, angle + side * 28, colors[i % 2])
            _wrapped_ellipse(canvas, (x, y), (max(2, size // 110),) * 2, 0, colors[1])
        end = ((center_x + 0.17) * size, (center_y - 0.12) * size)
        for petal in range(6):
            a = np.radians(60 * petal)
            at = (end[0] + 0.032 * size * np.cos(a), end[1] + 0.032 * size * np.sin(a))
            _wrapped_ellipse(canvas, at, (size // 34, size // 60), 60 * petal, colors[3])
        _wrapped_ellipse(canvas, end, (size // 60,) * 2, 0, colors[2])
    for _ in range(60):
        _wrapped_ellipse(
            canvas, tuple(rng.random(2) * size), (size // 150,) * 2, 0, colors[int(rng.integers(2, 4))]
        )
    paper = 1.0 + 0.025 * noise(size, size, rng, slope=0.5) + 0.02 * noise(size, size, rng, slope=1.8)
    return _finish(canvas * paper[..., None])


def _wrapped_ellipse(
    canvas: np.ndarray, at: tuple[float, ...], axes: tuple[int, int], angle: float, color
) -> None:
    size = canvas.shape[0]
    for dx in (-size, 0, size):
        for dy in (-size, 0, size):
            center = (int(at[0]) % size + dx, int(at[1]) % size + dy)
            cv2.ellipse(canvas, center, axes, angle, 0, 360, color, -1, cv2.LINE_AA)


def gingham(
    size: int, rng: np.random.Generator, *, color: tuple[float, float, float], checks: int = 4
) -> np.ndarray:
    """A tile of woven checks, with threads and creases."""
    step = (np.arange(size) * checks * 2 // size) % 2
    amount = 0.5 * step[:, None] + 0.5 * step[None]
    threads = 0.5 + 0.5 * np.sin(2 * np.pi * np.arange(size) / 4)
    weave = 0.90 + 0.10 * np.where(
        (np.add.outer(np.arange(size) // 2, np.arange(size) // 2)) % 2, *_pair(threads)
    )
    cloth = _mix((0.93, 0.91, 0.86), color, amount) * weave[..., None]
    uneven = 1 + 0.05 * noise(size, size, rng, slope=0.6) + 0.03 * noise(size, size, rng, slope=1.8)
    return _finish(cloth * uneven[..., None])


def straw(size: int, rng: np.random.Generator) -> np.ndarray:
    """A tile of plaited straw."""
    y, x = np.mgrid[0:size, 0:size] / size
    over = ((np.floor(x * 16) + np.floor(y * 16)) % 2).astype(bool)
    across, along = 0.5 + 0.5 * np.sin(2 * np.pi * 16 * x), 0.5 + 0.5 * np.sin(2 * np.pi * 16 * y)
    strand = np.where(over, np.sqrt(across), np.sqrt(along))
    tone = 0.25 + 0.55 * strand + 0.12 * noise(size, size, rng, slope=0.7)
    return _finish(_mix((0.42, 0.27, 0.12), (0.90, 0.76, 0.50), tone))


def _pair(threads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.broadcast_to(threads[:, None], (len(threads),) * 2), np.broadcast_to(
        threads, (len(threads),) * 2
    )


def carpet(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A rug: borders, a field of small lozenges, a medallion, and pile."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    edge = np.minimum.reduce([y, height - 1 - y, x, width - 1 - x]) / min(height, width)
    lozenge = (np.abs((x / 46) % 1 - 0.5) + np.abs((y / 46) % 1 - 0.5)) < 0.33
    center = np.abs(x / width - 0.5) * 1.6 + np.abs(y / height - 0.5) * 1.6
    red, navy, sand, teal = (0.50, 0.12, 0.11), (0.12, 0.15, 0.28), (0.80, 0.68, 0.48), (0.20, 0.38, 0.38)
    rug = np.where(lozenge[..., None], sand, red).astype(np.float64)
    rug = np.where((center < 0.62)[..., None], np.where(lozenge[..., None], teal, navy), rug)
    rug = np.where((np.abs(center - 0.62) < 0.03)[..., None], sand, rug)
    zigzag = np.abs(((x + y) / 30) % 1 - 0.5) < 0.24
    for low, high, even, odd in ((0.0, 0.03, navy, navy), (0.03, 0.10, sand, red), (0.10, 0.12, navy, navy)):
        band = (edge >= low) & (edge < high)
        rug = np.where(band[..., None], np.where(zigzag[..., None], even, odd), rug)
    pile = 1 + 0.10 * noise(height, width, rng, slope=0.35) + 0.05 * noise(height, width, rng, slope=1.6)
    return _finish(rug * pile[..., None])


def landscape(height: int, width: int, rng: np.random.Generator, *, mood: str) -> np.ndarray:
    """A painted landscape: sky, ranges of hills, a field or the sea, with brush strokes."""
    palettes = {
        "evening": [
            (0.95, 0.62, 0.36),
            (0.55, 0.42, 0.60),
            (0.42, 0.30, 0.45),
            (0.28, 0.24, 0.34),
            (0.24, 0.30, 0.22),
        ],
        "coast": [
            (0.62, 0.80, 0.90),
            (0.36, 0.60, 0.72),
            (0.20, 0.45, 0.58),
            (0.80, 0.72, 0.52),
            (0.40, 0.50, 0.28),
        ],
    }
    colors = palettes[mood]
    rows = np.linspace(0, 1, height)[:, None]
    sky = _mix((0.98, 0.93, 0.80), colors[0], np.broadcast_to(1 - 1.6 * rows, (height, width)))
    sky += 0.05 * noise(height, width, rng, slope=1.7, stretch=3.0)[..., None]
    sun = np.hypot(np.linspace(-0.75, 0.75, width)[None] - 0.2, (rows - 0.26) * height / width * 1.5)
    picture = np.where((sun < 0.09)[..., None], (1.0, 0.95, 0.72), sky)
    for i, color in enumerate(colors[1:]):
        line = 0.42 + 0.14 * i + 0.05 * noise(width, width, rng, slope=2.3)[0]
        hill = rows > line[None]
        light = 0.10 * noise(height, width, rng, slope=1.1, stretch=2.5)
        picture = np.where(hill[..., None], np.asarray(color) + light[..., None], picture)
    strokes = noise(height, width, rng, slope=0.7, stretch=6.0)
    return _finish(picture + 0.035 * strokes[..., None])


def abstract(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A print of overlapping discs and bars on paper."""
    canvas = np.ones((height, width, 3), np.float32) * np.float32([0.93, 0.90, 0.83])
    colors = [
        (0.80, 0.30, 0.20),
        (0.15, 0.30, 0.42),
        (0.90, 0.68, 0.26),
        (0.30, 0.45, 0.36),
        (0.16, 0.14, 0.14),
    ]
    for _ in range(26):
        color = colors[int(rng.integers(len(colors)))]
        at = (int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(0.1, 0.9) * height))
        if rng.random() < 0.5:
            radius = int(rng.uniform(0.04, 0.16) * width)
            cv2.circle(canvas, at, radius, color, -1 if rng.random() < 0.6 else 5, cv2.LINE_AA)
        else:
            half = rng.uniform(0.05, 0.28) * width
            angle = rng.choice([0, np.pi / 2, np.pi / 4])
            shift = (int(half * np.cos(angle)), int(half * np.sin(angle)))
            start, end = (at[0] - shift[0], at[1] - shift[1]), (at[0] + shift[0], at[1] + shift[1])
            cv2.line(canvas, start, end, color, int(rng.integers(4, 18)), cv2.LINE_AA)
    margin = width // 14
    framed = np.ones_like(canvas) * np.float32([0.95, 0.94, 0.90])
    framed[margin:-margin, margin:-margin] = canvas[margin:-margin, margin:-margin]
    return _finish(framed * (1 + 0.03 * noise(height, width, rng, slope=0.6)[..., None]))


def screen(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A computer's screen: wallpaper, two windows with text and a chart, a bar with icons."""
    picture = (
        cv2.GaussianBlur(landscape(height, width, rng, mood="coast"), (0, 0), 1.2).astype(np.float32) / 255
    )
    text, paper = (0.20, 0.22, 0.26), (0.96, 0.96, 0.97)
    for left, top, right, bottom in ((0.06, 0.10, 0.56, 0.84), (0.48, 0.26, 0.94, 0.74)):
        x0, y0, x1, y1 = int(left * width), int(top * height), int(right * width), int(bottom * height)
        cv2.rectangle(picture, (x0, y0), (x1, y1), paper, -1)
        cv2.rectangle(picture, (x0, y0), (x1, y0 + height // 22), (0.32, 0.38, 0.48), -1)
        for line in range(y0 + height // 14, y1 - height // 30, height // 26):
            x = x0 + width // 60
            while x < x1 - width // 14 and rng.random() > 0.06:
                word = int(rng.integers(width // 60, width // 16))
                shade = (0.15, 0.40, 0.65) if rng.random() < 0.15 else text
                cv2.line(
                    picture, (x, line), (min(x + word, x1 - width // 50), line), shade, max(2, height // 110)
                )
                x += word + width // 90
    for i in range(9):
        color = tuple(float(c) for c in rng.uniform(0.2, 0.9, 3))
        at = (int((0.28 + 0.055 * i) * width), int(0.94 * height))
        cv2.circle(picture, at, height // 34, color, -1, cv2.LINE_AA)
    return _finish(picture)


def spines(height: int, width: int, rng: np.random.Generator, *, books: int) -> tuple[np.ndarray, np.ndarray]:
    """The backs of a row of books.

    Returns:
        (picture, the share of the width at which each book begins and ends [books+1]).
    """
    picture = np.zeros((height, width, 3), np.float32)
    edges = np.concatenate([[0.0], np.cumsum(rng.uniform(0.6, 1.7, books))])
    edges /= edges[-1]
    for i in range(books):
        x0, x1 = int(edges[i] * width), int(edges[i + 1] * width)
        cover = BOOK_COVERS[int(rng.integers(len(BOOK_COVERS)))]
        color = np.clip(np.asarray(cover) * rng.uniform(0.75, 1.2) + rng.normal(0, 0.02, 3), 0.02, 0.95)
        picture[:, x0:x1] = color
        ink = tuple(float(c) for c in ((0.92, 0.86, 0.66) if color.mean() < 0.45 else (0.12, 0.10, 0.12)))
        for band in rng.uniform(0.05, 0.95, 3):
            y = int(band * height)
            cv2.rectangle(picture, (x0 + 2, y), (x1 - 2, y + int(rng.integers(2, 9))), ink, -1)
        y, middle = int(rng.uniform(0.18, 0.3) * height), (x0 + x1) // 2
        while y < 0.75 * height:
            letter = int(rng.integers(6, 16))
            cv2.line(picture, (middle, y), (middle, y + letter), ink, max(3, (x1 - x0) // 4))
            y += letter + int(rng.integers(4, 9))
        picture[:, x0 : x0 + 2] *= 0.5
    return _finish(picture * (1 + 0.06 * noise(height, width, rng, slope=0.6)[..., None])), edges


def stripes(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Glazed stoneware with hand-painted bands, for a mug: x runs round it, y from foot to rim."""
    y = np.linspace(1, 0, height)[:, None] + 0.004 * noise(height, width, rng, slope=1.8)
    glaze = np.broadcast_to(np.float64([0.90, 0.87, 0.80]), (height, width, 3)).copy()
    for low, high, color in (
        (0.0, 0.30, (0.16, 0.28, 0.44)),
        (0.36, 0.40, (0.16, 0.28, 0.44)),
        (0.46, 0.48, (0.66, 0.32, 0.20)),
        (0.94, 1.2, (0.45, 0.30, 0.20)),
    ):
        glaze[(y >= low) & (y < high)] = color
    specks = noise(height, width, rng, slope=0.3) > 2.6
    glaze[specks] *= 0.55
    return _finish(glaze * (1 + 0.03 * noise(height, width, rng, slope=1.2)[..., None]))
