"""Photo-like backgrounds from a random generator; training and test use families of their own.

Every family takes a generator and a side in pixels and returns float32 (side, side, 3) in 0..255.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Family = Callable[[np.random.Generator, int], np.ndarray]


def noise(rng: np.random.Generator, side: int, exponent: float) -> np.ndarray:
    """Float32 (side, side), zero mean, unit deviation, with a 1 / frequency**exponent spectrum."""
    white = rng.standard_normal((side, side))
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]
    frequency = np.maximum(np.hypot(fy, fx), 1.0 / side)
    field = np.fft.irfft2(np.fft.rfft2(white) * frequency**-exponent, s=(side, side))
    field -= field.mean()
    unit: np.ndarray = field / (field.std() + 1e-9)
    return unit.astype(np.float32)


def color(rng: np.random.Generator) -> np.ndarray:
    """A float32 color (3,) of any brightness and mostly low saturation, as surfaces have."""
    gray, saturation = rng.uniform(25, 235), rng.beta(1.2, 2.5)
    tint = rng.uniform(0, 255, 3)
    return (gray + saturation * (tint - gray)).astype(np.float32)


def mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Blend two colors (3,) or images (side, side, 3) by a weight (side, side) of 0..1."""
    blend = weight[..., None]
    result: np.ndarray = first * (1 - blend) + second * blend
    return result


def smoothstep(values: np.ndarray, sharpness: float) -> np.ndarray:
    """A soft threshold at zero: float32 in 0..1, steeper for a larger sharpness."""
    soft: np.ndarray = 1 / (1 + np.exp(-np.clip(sharpness * values, -30, 30)))
    return soft.astype(np.float32)


def grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column coordinates, float32 (side, side), from -1 to 1."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return y, x


def ramp(rng: np.random.Generator, side: int) -> np.ndarray:
    """A plane in a random direction, float32 (side, side), about -1 to 1."""
    y, x = grid(side)
    angle = rng.uniform(0, 2 * np.pi)
    plane: np.ndarray = np.cos(angle) * x + np.sin(angle) * y
    return plane.astype(np.float32)


def lit(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The image under light that falls off to one side, with grain."""
    side = image.shape[0]
    light = 1 + rng.uniform(0, 0.35) * ramp(rng, side)
    grain = noise(rng, side, rng.uniform(0, 0.6)) * rng.uniform(0, 9)
    result: np.ndarray = image * light[..., None] + grain[..., None]
    return result


def clouds(rng: np.random.Generator, side: int) -> np.ndarray:
    """Two colors mixed by 1/f noise, each channel disturbed on its own."""
    image = mix(color(rng), color(rng), smoothstep(noise(rng, side, rng.uniform(0.8, 1.8)), 2))
    own = [noise(rng, side, 1.2) for _ in range(3)]
    result: np.ndarray = image + np.stack(own, -1) * rng.uniform(2, 22)
    return result


def gradient(rng: np.random.Generator, side: int) -> np.ndarray:
    """A smooth wall: one color turning into another."""
    return lit(rng, mix(color(rng), color(rng), smoothstep(ramp(rng, side), rng.uniform(1, 4))))


def blobs(rng: np.random.Generator, side: int) -> np.ndarray:
    """Out-of-focus things: a few large, soft spots of color."""
    y, x = grid(side)
    image = np.broadcast_to(color(rng), (side, side, 3)).astype(np.float32)
    for _ in range(int(rng.integers(4, 10))):
        cy, cx, radius = *rng.uniform(-1, 1, 2), rng.uniform(0.12, 0.6)
        squared = ((y - cy) ** 2 + (x - cx) ** 2 * rng.uniform(0.5, 2)) / radius**2
        image = mix(image, color(rng), np.exp(-(squared ** rng.uniform(0.8, 3))))
    return lit(rng, image)


def weave(rng: np.random.Generator, side: int) -> np.ndarray:
    """Wood or cloth: warped stripes of two related colors."""
    warp = noise(rng, side, 1.6) * rng.uniform(0.05, 0.5)
    stripes = np.sin((ramp(rng, side) + warp) * rng.uniform(6, 45) + rng.uniform(0, 6))
    first = color(rng)
    second = first + rng.uniform(-70, 70, 3).astype(np.float32)
    return lit(rng, mix(first, second, smoothstep(stripes, rng.uniform(1, 5))))


def edges(rng: np.random.Generator, side: int) -> np.ndarray:
    """Overlapping half planes with rough borders, each with its own texture."""
    image = np.broadcast_to(color(rng), (side, side, 3)).astype(np.float32)
    for _ in range(int(rng.integers(2, 6))):
        border = ramp(rng, side) + rng.uniform(-0.7, 0.7)
        border = border + noise(rng, side, 1.5) * rng.uniform(0, 0.15)
        texture = noise(rng, side, rng.uniform(0.3, 1.4)) * rng.uniform(2, 25)
        image = mix(image, color(rng) + texture[..., None], smoothstep(border, rng.uniform(8, 60)))
    return lit(rng, image)


def floor(rng: np.random.Generator, side: int) -> np.ndarray:
    """A room: tiles that recede to a straight, bare wall."""
    y, x = grid(side)
    line = rng.uniform(-0.6, 0.5)
    depth = 1 / np.maximum(y - line, 0.02)  # of the floor seen at a row
    angle, scale = rng.uniform(0, np.pi / 2), rng.uniform(0.7, 3)
    across = (x + rng.uniform(-0.5, 0.5)) * depth * scale
    along = depth * scale * rng.uniform(1, 3)
    u = np.cos(angle) * across - np.sin(angle) * along
    v = np.sin(angle) * across + np.cos(angle) * along
    checks = smoothstep(np.sin(u) * np.sin(v), 12) * np.exp(-0.05 * depth)
    first = color(rng)
    tiles = mix(first, first + rng.uniform(-90, 90, 3).astype(np.float32), checks)
    wall = color(rng) + (noise(rng, side, 1.2) * rng.uniform(0, 12))[..., None]
    return lit(rng, mix(wall, tiles, smoothstep(y - line, 60)))


def boards(rng: np.random.Generator, side: int) -> np.ndarray:
    """Furniture: turned rectangles with sharp edges, each in its own color and shade."""
    y, x = grid(side)
    image = np.broadcast_to(color(rng), (side, side, 3)).astype(np.float32)
    for _ in range(int(rng.integers(3, 9))):
        cy, cx, half_width, half_height = *rng.uniform(-1, 1, 2), *rng.uniform(0.1, 0.6, 2)
        angle = rng.uniform(0, np.pi)
        u = np.cos(angle) * (x - cx) + np.sin(angle) * (y - cy)
        v = np.cos(angle) * (y - cy) - np.sin(angle) * (x - cx)
        inside = np.minimum(half_width - np.abs(u), half_height - np.abs(v))
        shade = color(rng) + rng.uniform(-40, 40) * (u / half_width)[..., None]
        image = mix(image, shade, smoothstep(inside, rng.uniform(20, 120)))
    return lit(rng, image)


def horizon(rng: np.random.Generator, side: int) -> np.ndarray:
    """A ridge: ground with coarse texture below a brighter sky."""
    y, _ = grid(side)
    ridge = y - rng.uniform(-0.4, 0.5) + noise(rng, side, 1.9)[side // 2] * rng.uniform(0.03, 0.2)
    sky = mix(color(rng) * 0.5 + 120, color(rng) * 0.3 + 150, (y + 1) / 2)
    ground = color(rng) * 0.7 + (noise(rng, side, 0.9) * rng.uniform(8, 25))[..., None]
    return lit(rng, mix(sky, ground, smoothstep(ridge, 40)))


def bokeh(rng: np.random.Generator, side: int) -> np.ndarray:
    """Discs of light, as a wide-open lens draws lamps behind the subject."""
    y, x = grid(side)
    image = mix(color(rng) * 0.6, color(rng) * 0.6, (ramp(rng, side) + 1.5) / 3)
    for _ in range(int(rng.integers(6, 16))):
        cy, cx, radius = *rng.uniform(-1, 1, 2), rng.uniform(0.08, 0.3)
        disc = smoothstep(radius - np.hypot(y - cy, x - cx), rng.uniform(25, 60))
        image = image + color(rng) * (disc * rng.uniform(0.15, 0.6))[..., None]
    return lit(rng, image)


def cells(rng: np.random.Generator, side: int) -> np.ndarray:
    """Stones or tiles: a Voronoi mosaic of nearby colors with dark joints."""
    y, x = grid(side)
    points = rng.uniform(-1.2, 1.2, (int(rng.integers(12, 50)), 2))
    distance = np.hypot(y[..., None] - points[:, 0], x[..., None] - points[:, 1])
    two = np.sort(distance, -1)[..., :2]
    joint = smoothstep(two[..., 1] - two[..., 0] - 0.03, 60)
    tints = color(rng) + rng.uniform(-45, 45, (len(points), 3))
    image = tints[distance.argmin(-1)] * (0.5 + 0.5 * joint[..., None])
    return lit(rng, image.astype(np.float32))


TRAIN_FAMILIES: tuple[Family, ...] = (clouds, gradient, blobs, weave, edges)
TRAIN_SCENERY: tuple[Family, ...] = (*TRAIN_FAMILIES, floor, boards)  # of several emoji at once
TEST_FAMILIES: tuple[Family, ...] = (horizon, bokeh, cells)


def paint(
    rng: np.random.Generator, families: tuple[Family, ...], count: int, side: int
) -> np.ndarray:
    """Uint8 (count, side, side, 3) backgrounds that take turns through the families."""
    images = [families[i % len(families)](rng, side) for i in range(count)]
    rounded: np.ndarray = np.clip(np.rint(np.stack(images)), 0, 255)
    return rounded.astype(np.uint8)
