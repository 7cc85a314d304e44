"""Pictures of what was found: colors, tags, outlines and legends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image, ImageChops

from exporter.drawing import draw_objects, draw_regions, outline, pixels_of, place_tag
from exporter.lettering import pen_for, spelled
from exporter.palette import PALETTE, Color, class_color, luminance, readable_on
from exporter.predictions import FoundObject, Region

AWKWARD = [(1, 1), (1, 500), (500, 1), (30, 20), (40, 3000), (2000, 60)]
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.119192, 0.9503041],
    ]
)
WHITE_POINT = np.array([0.95047, 1.0, 1.08883])


def lab(color: Color, vision: str) -> np.ndarray:
    """CIELAB of a color as some people see it."""
    u = np.array(color) / 255
    linear = np.where(u <= 0.04045, u / 12.92, ((u + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(VISIONS[vision]) @ linear, 0, 1)
    x, y, z = (
        np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in XYZ @ seen / WHITE_POINT
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def found(
    box: tuple[float, float, float, float], score: float = 0.9, index: int = 1, label: str = "cat"
) -> FoundObject:
    return FoundObject(index=index, label=label, score=score, box=box)


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def region(index: int, share: float = 0.25, label: str = "cat") -> Region:
    return Region(index=index, label=label, share=share)


@pytest.mark.parametrize("vision", VISIONS)
def test_colors_differ_for_everyone(vision: str) -> None:
    """A difference of 2.3 is just seen; the closest two of twenty are six times as far apart."""
    pairs = itertools.combinations(PALETTE, 2)
    assert min(np.linalg.norm(lab(a, vision) - lab(b, vision)) for a, b in pairs) > 6 * 2.3


def test_a_class_has_one_color_and_neighbors_have_others() -> None:
    assert class_color(1) == PALETTE[0]
    assert class_color(1 + len(PALETTE)) == class_color(1)
    assert len({class_color(i) for i in range(1, 21)}) == 20


@pytest.mark.parametrize("color", PALETTE)
def test_text_can_be_read_on_every_color(color: Color) -> None:
    """WCAG 2 asks for a contrast of 4.5."""
    low, high = sorted((luminance(color), luminance(readable_on(color))))
    assert (high + 0.05) / (low + 0.05) >= 4.5


@pytest.mark.parametrize("size", AWKWARD)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_photos_of_any_shape_are_drawn_on(size: tuple[int, int], mode: str) -> None:
    """The picture has the photo's size and the photo is left alone."""
    photo = noise(*size).convert(mode)
    before = photo.copy()
    width, height = size
    objects = [found((0, 0, width, height)), found((width - 0.1, height - 0.1, width, height), 0.5)]
    labels = np.ones((height, width), np.uint8)
    for picture in (
        draw_objects(photo, objects),
        draw_objects(photo, []),
        draw_regions(photo, labels, [region(1, 1.0)]),
    ):
        assert picture.size == size
        assert picture.mode == "RGB"
    assert ImageChops.difference(photo, before).getbbox() is None


def test_nothing_found_leaves_the_photo_as_it_is() -> None:
    photo = noise(50, 40)
    labels = np.zeros((40, 50), np.uint8)
    for picture in (draw_objects(photo, []), draw_regions(photo, labels, [region(0, 1.0)])):
        assert ImageChops.difference(photo, picture).getbbox() is None


def test_a_box_is_drawn_on_its_pixels() -> None:
    """A line of the class's color within the box, one of contrast around it, nothing inside."""
    photo = Image.new("RGB", (300, 200), (120, 120, 120))
    picture = draw_objects(photo, [found((50.2, 80.4, 150.0, 160.0), index=5)])
    color = class_color(5)
    for corner in ((50, 80), (149, 80), (50, 159), (149, 159)):
        assert picture.getpixel(corner) == color
    assert picture.getpixel((100, 160)) == readable_on(color)
    assert picture.getpixel((100, 161)) == (120, 120, 120)
    assert picture.getpixel((100, 120)) == (120, 120, 120)


def test_better_objects_are_drawn_above_worse_ones() -> None:
    """Whatever order they are given in."""
    box = (50.0, 80.0, 150.0, 160.0)
    worse, better = found(box, 0.5, index=2), found(box, 0.8, index=3)
    for objects in ([worse, better], [better, worse]):
        picture = draw_objects(Image.new("RGB", (300, 200)), objects)
        assert picture.getpixel((149, 159)) == class_color(3)


def test_tags_of_equal_boxes_do_not_hide_each_other() -> None:
    size, pen = (640, 480), pen_for(640, 480)
    placed: list[tuple[int, int, int, int]] = []
    for _ in range(6):
        place = place_tag((200, 100, 420, 300), "zebra 50%", size, pen, placed)
        assert place is not None
        placed.append(place)
    for a, b in itertools.combinations(placed, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@pytest.mark.parametrize(
    "box", [(0, 0, 5, 5), (635, 0, 640, 480), (0, 475, 640, 480), (630, 470, 640, 480)]
)
def test_tags_stay_inside_the_picture(box: tuple[int, int, int, int]) -> None:
    place = place_tag(box, "a long label of many words 50%", (640, 480), pen_for(640, 480), [])
    assert place is not None
    assert min(place) >= 0
    assert place[2] <= 640
    assert place[3] <= 480


def test_a_label_that_is_too_wide_is_cut_and_its_score_stays() -> None:
    pen = pen_for(640, 480)
    text = pen.fit("word " * 100, " 87%", 300)
    assert text.endswith("... 87%")
    assert 200 < pen.width(text) <= 300
    assert pen.fit("word", " 87%", 300) == "word 87%"
    assert pen.fit("word", " 87%", 5) == ""


def test_a_photo_too_small_for_text_gets_boxes_without_tags() -> None:
    picture = draw_objects(Image.new("RGB", (40, 30)), [found((10, 15, 30, 29), index=3)])
    assert picture.crop((0, 0, 40, 13)).getbbox() is None
    assert picture.getpixel((10, 15)) == class_color(3)


def test_text_grows_with_the_photo() -> None:
    small, large = pen_for(640, 480), pen_for(4032, 3024)
    assert large.text_height / small.text_height == pytest.approx(4032 / 640, rel=0.15)
    assert pen_for(8000, 100).text_height <= 100 / 5


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("red fox", "red fox"),
        ("Fön", "Fon"),
        ("猫", "class 7"),
        ("a\nb", "class 7"),
        ("", "class 7"),
    ],
)
def test_letters_that_the_font_lacks(label: str, shown: str) -> None:
    assert spelled(label, 7) == shown


def test_pixels_of_a_box_are_inside_and_at_least_one() -> None:
    assert pixels_of((1.4, 2.6, 7.5, 9.0), (20, 20)) == (1, 3, 8, 9)
    assert pixels_of((19.9, 19.9, 20.0, 20.0), (20, 20)) == (19, 19, 20, 20)
    assert pixels_of((3.1, 3.1, 3.2, 3.2), (20, 20)) == (3, 3, 4, 4)


def test_regions_are_tinted_and_outlined_and_the_rest_is_untouched() -> None:
    photo = noise(300, 200)
    labels = np.zeros((200, 300), np.uint8)
    labels[100:180, 150:280] = 4
    picture = np.asarray(draw_regions(photo, labels, [region(0, 0.8), region(4, 0.2)]))
    before = np.asarray(photo)
    legend = np.zeros(labels.shape, bool)
    legend[:100, :150] = True  # the corner where nothing is
    assert (picture[legend] != before[legend]).any()
    rest = (labels == 0) & ~legend
    assert np.array_equal(picture[rest], before[rest])
    assert (picture[100, 150:280] == class_color(4)).all()
    middle = np.s_[120:160, 170:260]
    mixed = before[middle] + (np.array(class_color(4)) - before[middle]) * (112 / 255)
    assert np.abs(picture[middle] - mixed).max() <= 1


def test_the_legend_names_classes_in_a_corner_that_hides_none() -> None:
    photo = Image.new("RGB", (300, 200), (90, 90, 90))
    labels = np.ones((200, 300), np.uint8)
    labels[110:, 160:] = 0
    regions = [region(0), region(1, 0.7, "sky"), region(2, 0.0001, "bird")]
    picture = draw_regions(photo, labels, regions)
    panel = np.asarray(picture.crop((160, 110, 300, 200)))
    shown = {tuple(color) for color in panel.reshape(-1, 3).tolist()}
    assert {class_color(1), class_color(2), (255, 255, 255)} <= shown
    assert regions[2].percent == "<0.1%"


def test_outlines_lie_inside_regions() -> None:
    labels = np.array(
        [[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 2, 2], [0, 1, 1, 1, 2, 2], [0, 1, 1, 1, 2, 2]], np.uint8
    )
    expected = np.array(
        [[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1], [0, 1, 0, 1, 1, 0], [0, 1, 0, 1, 1, 0]], bool
    )
    assert np.array_equal(outline(labels, 1), expected)
    assert not outline(np.ones((1, 1), np.uint8), 3).any()
