"""Where pictures of what was found are written: a file per image, none of them an image itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import DataError, UnsupportedError

PNG = ".png"
OTHER_FORMATS = (".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True, kw_only=True)
class PictureFiles:
    """A folder, and the names of the files in it, in the order of the images."""

    folder: Path
    names: tuple[str, ...]

    def paths(self) -> list[Path]:
        """Of every picture."""
        return [self.folder / name for name in self.names]


def plan_pictures(out: Path, artifact: Path, images: Sequence[Path]) -> PictureFiles:
    """`out` is a folder, or a .png file for a single image.

    In a folder an image gets its own name and the artifact's. Raises UnsupportedError for a name
    that is of no PNG, DataError where a picture would replace another or an image that was given.
    """
    kind = "" if out.is_dir() else out.suffix.lower()
    if kind in OTHER_FORMATS:
        raise UnsupportedError(
            f"{out}: pictures are PNG files", f"name it {out.with_suffix(PNG).name}"
        )
    if kind == PNG and len(images) > 1:
        raise UnsupportedError(
            f"{out}: one picture for {len(images)} images", "give a folder with --out"
        )
    if kind == PNG:
        files = PictureFiles(folder=out.parent, names=(out.name,))
    else:
        names = tuple(f"{image.stem}-{artifact.stem}{PNG}" for image in images)
        files = PictureFiles(folder=out, names=names)
    _check_different(files.names, images)
    _check_no_image(files.paths(), images)
    return files


def _check_different(names: Sequence[str], images: Sequence[Path]) -> None:
    first: dict[str, Path] = {}
    for name, image in zip(names, images, strict=True):
        # Some file systems do not tell capitals from small letters.
        if (other := first.setdefault(name.casefold(), image)) is not image:
            raise DataError(
                f"{other} and {image} would both be drawn as {name}",
                "give the files different names, or draw them one by one",
            )


def _check_no_image(pictures: Sequence[Path], images: Sequence[Path]) -> None:
    for picture in pictures:
        for image in images if picture.exists() else ():
            if image.exists() and picture.samefile(image):
                raise DataError(
                    f"{picture}: the picture would replace the image itself",
                    "choose another --out",
                )
