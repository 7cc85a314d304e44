"""What goes into a model and comes out: images, arrays, class labels.

An ML program scales an image itself, by operations (coremltools' `ImageType(scale=, bias=)` writes
them), so an image enters as its 8-bit numbers in the channel order that the model declares.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from coremltools.proto import FeatureTypes_pb2 as types
from PIL import Image

from exporter.errors import DataError, UnsupportedError

GRAY = (types.ImageFeatureType.GRAYSCALE, types.ImageFeatureType.GRAYSCALE_FLOAT16)
ARRAYS = {
    types.ArrayFeatureType.FLOAT16: np.float16,
    types.ArrayFeatureType.FLOAT32: np.float32,
    types.ArrayFeatureType.DOUBLE: np.float64,
    types.ArrayFeatureType.INT32: np.int32,
    types.ArrayFeatureType.INT8: np.int8,
}

SCALARS = {"int64Type": int, "doubleType": float}


def fed(feature: Any, value: Any) -> np.ndarray:
    """The array that a program's input gets; raises DataError for a value that does not fit.

    An image is a PIL image or uint8 RGB (h, w, 3), for a gray one (h, w), and becomes (1, c, h, w).
    """
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        return _image(feature.name, feature.type.imageType, value)
    if kind == "multiArrayType":
        return _array(feature.name, feature.type.multiArrayType, value)
    if kind in SCALARS:
        return np.asarray(value)
    raise UnsupportedError(f"input {feature.name!r} is a {kind}, which nothing here can feed")


def given(feature: Any, value: Any) -> Any:
    """A result as Core ML hands it over: an array of the declared type, an image, a label."""
    kind = feature.type.WhichOneof("Type")
    if kind == "multiArrayType":
        return np.asarray(value).astype(_element(feature.name, feature.type.multiArrayType))
    if kind == "imageType":
        return _picture(feature.type.imageType, np.asarray(value))
    if kind in SCALARS:
        return SCALARS[kind](value)
    return value


def side_lengths(feature: Any) -> tuple[int, int] | None:
    """(width, height) of an image input; None for any other input."""
    if feature.type.WhichOneof("Type") != "imageType":
        return None
    return feature.type.imageType.width, feature.type.imageType.height


def takes_size(feature: Any, width: int, height: int) -> bool:
    """Whether an image input takes pictures of that size; many have one size, some a range."""
    return _allowed(feature.type.imageType, width, height)


def _image(name: str, declared: Any, value: Any) -> np.ndarray:
    gray = declared.colorSpace in GRAY
    pixels = _pixels(name, value, gray)
    height, width = pixels.shape[:2]
    if not _allowed(declared, width, height):
        raise DataError(
            f"input {name!r}: the image is {width} x {height} pixels, "
            f"the model takes {declared.width} x {declared.height}",
            "resize it first",
        )
    if gray:
        return pixels[None, None]
    if declared.colorSpace == types.ImageFeatureType.BGR:
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def _pixels(name: str, value: Any, gray: bool) -> np.ndarray:
    """uint8 (h, w, 3) or (h, w)."""
    if isinstance(value, Image.Image):
        return np.asarray(value.convert("L" if gray else "RGB"))
    pixels = np.asarray(value)
    wanted = "(h, w)" if gray else "(h, w, 3)"
    fits = pixels.ndim == 2 if gray else pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.dtype != np.uint8 or not fits:
        raise DataError(
            f"input {name!r}: {pixels.dtype} of shape {list(pixels.shape)} is not an image",
            f"pass a PIL image, or uint8 {wanted}",
        )
    return pixels


def _allowed(declared: Any, width: int, height: int) -> bool:
    flexibility = declared.WhichOneof("SizeFlexibility")
    if flexibility == "enumeratedSizes":
        sizes = [(s.width, s.height) for s in declared.enumeratedSizes.sizes]
        return (width, height) in [(declared.width, declared.height), *sizes]
    if flexibility == "imageSizeRange":
        ranges = declared.imageSizeRange
        return _within(ranges.widthRange, width) and _within(ranges.heightRange, height)
    return (width, height) == (declared.width, declared.height)


def _array(name: str, declared: Any, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind not in "fiub":
        raise DataError(f"input {name!r}: {array.dtype} is not an array of numbers")
    if not _shape_allowed(declared, array.shape):
        raise DataError(
            f"input {name!r}: the array is {list(array.shape)}, "
            f"the model takes {list(declared.shape)}"
        )
    return array.astype(_element(name, declared))


def _element(name: str, declared: Any) -> np.dtype[Any]:
    if declared.dataType not in ARRAYS:
        raise UnsupportedError(f"{name!r} is an array of elements that nothing here knows")
    return np.dtype(ARRAYS[declared.dataType])


def _shape_allowed(declared: Any, shape: tuple[int, ...]) -> bool:
    flexibility = declared.WhichOneof("ShapeFlexibility")
    if flexibility == "enumeratedShapes":
        return shape in [tuple(s.shape) for s in declared.enumeratedShapes.shapes]
    if flexibility == "shapeRange":
        ranges = declared.shapeRange.sizeRanges
        return len(ranges) == len(shape) and all(map(_within, ranges, shape))
    return not declared.shape or shape == tuple(declared.shape)


def _within(size_range: Any, size: int) -> bool:
    return size_range.lowerBound <= size and not 0 <= size_range.upperBound < size


def _picture(declared: Any, values: np.ndarray) -> Image.Image:
    """Numbers (1, c, h, w) as Core ML draws them: rounded toward zero, saturated."""
    pixels = np.clip(values[0], 0, 255).astype(np.uint8)
    if declared.colorSpace in GRAY:
        return Image.fromarray(pixels[0])
    if declared.colorSpace == types.ImageFeatureType.BGR:
        pixels = pixels[::-1]
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
