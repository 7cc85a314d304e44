"""Photos under free licenses to quantize a real model with: `python benchmarks/photos.py OUT`.

Downloads five packages of Debian 12 with apt-get (410 MB; `apt-get update` first) and writes
`OUT/calibration` and `OUT/held-out`: wallpapers and OpenCV's samples, whole and cropped, and Tux
Paint's photographed animals pasted on them. No photo, no animal and, but for the animals, no
package is on both sides. Every run gives the same files; the packages' copyright files lie beside
them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from exporter.errors import DataError, ExportError, MissingDependencyError
from exporter.files import replace_directory

SIDE = 320  # pixels of a crop; of a whole photo, the shorter side
SMALLEST_CROP = 0.35  # of a photo's shorter side
ANIMAL_SHARE = (0.55, 0.95)  # of the picture, the animal's longer side
SCENES = 2  # backgrounds per held-out animal
CROPS = 3  # per held-out photo, besides the whole
FEWEST_HELD_OUT = 250

LOMIRI = ("lomiri-wallpapers-16.04", "usr/share/backgrounds/{}.jpg")
PLASMA = ("plasma-workspace-wallpapers", "usr/share/wallpapers/{}.jpg")
MATE = ("mate-backgrounds", "usr/share/backgrounds/mate/nature/{}.jpg")
OPENCV = ("opencv-doc", "usr/share/doc/opencv-doc/examples/{}")
ANIMALS = ("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps/animals")
CALIBRATION = {
    LOMIRI: "Picture_0B_by_freespace Picture_1A_by_freespace Wine_by_Jakkub_Mede "
    "seeding_by_Clements_Engelhardt aitzgorri_by_Aitzol_Berasategi Dragonfly_by_Bolly "
    "friends_by_Aitzol_Berasategi sunset_by_Aitzol_Berasategi free_by_Peter_Nerlich "
    "picosdeeuropa_by_Aitzol_Berasategi life_by_Aitzol_Berasategi Bridge_by_Sander_Klootwijk",
    PLASMA: "BytheWater/contents/images/2560x1600 ColdRipple/contents/images/2560x1600 "
    "ColorfulCups/contents/images/2560x1600 EveningGlow/contents/images/2560x1600 "
    "FallenLeaf/contents/images/2560x1600 Grey/contents/images/2560x1600 "
    "Kite/contents/images/2560x1600 OneStandsOut/contents/images/2560x1600 "
    "Path/contents/images/2560x1600 Volna/contents/images/5120x2880 "
    "summer_1am/contents/images/2560x1600",
}
HELD_OUT = {
    MATE: "Aqua Blinds Dune FreshFlower Garden GreenMeadow LadyBird RainDrops Storm TwoWings Wood "
    "YellowFlower",
    OPENCV: "alphamat/input_images/plant.jpg dnn_superres/butterfly.png data/aero1.jpg "
    "data/aloeL.jpg data/apple.jpg data/baboon.jpg data/board.jpg data/building.jpg "
    "data/butterfly.jpg data/chicky_512.png data/ela_original.jpg data/fruits.jpg data/graf1.png "
    "data/home.jpg data/leuvenA.jpg data/licenseplate_motion.jpg data/orange.jpg data/right.jpg "
    "data/rubberwhale1.png data/smarties.png data/squirrel_cls.jpg data/stuff.jpg",
}
PACKAGES = (LOMIRI[0], PLASMA[0], MATE[0], OPENCV[0], ANIMALS[0])
LAST_CALIBRATION_LETTER = "g"  # of an animal's name: gnu and gnu-baby stay together


@dataclass(frozen=True, kw_only=True)
class Side:
    """What goes into one folder."""

    photos: dict[str, Image.Image]
    animals: dict[str, Image.Image]  # RGBA, cut out
    crops: int
    scenes: int
    seed: int


def download(packages: tuple[str, ...], folder: Path) -> None:
    """Each package's files in `folder/PACKAGE`; raises MissingDependencyError without Debian's."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise MissingDependencyError(f"{tool}: not found", "run this on Debian 12")
    got = subprocess.run(
        ["apt-get", "download", *packages], cwd=folder, capture_output=True, text=True, check=False
    )
    if got.returncode:
        last = (got.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DataError(f"apt-get download: {last}", "run `apt-get update` on Debian 12 first")
    for package in packages:
        (archive,) = folder.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, folder / package], check=True)


def photos_of(folder: Path, chosen: dict[tuple[str, str], str]) -> dict[str, Image.Image]:
    """The chosen photos by a name for their file, no larger than needed."""
    photos = {}
    for (package, pattern), names in chosen.items():
        for name in names.split():
            path = folder / package / pattern.format(name)
            if not path.exists():
                raise DataError(f"{path}: {package} lacks it", "the list is of Debian 12's version")
            label = Path(name).parts[0] if package == PLASMA[0] else Path(name).stem
            photos[f"{package}-{label}".replace(".", "_")] = reduced(Image.open(path))
    return photos


def reduced(image: Image.Image) -> Image.Image:
    """RGB with a shorter side of twice a crop's, or as it was if smaller."""
    factor = 2 * SIDE / min(image.size)
    size = (round(image.width * factor), round(image.height * factor))
    rgb = image.convert("RGB")
    return rgb.resize(size, Image.Resampling.LANCZOS) if factor < 1.0 else rgb


def animals_of(folder: Path) -> dict[str, Image.Image]:
    """Every animal that is no drawing, cut out, by its folder and name."""
    root = folder / ANIMALS[0] / ANIMALS[1]
    found = {}
    for path in sorted(root.rglob("*.png")):
        image = Image.open(path)
        if "cartoon" not in path.parts and "A" in image.mode:
            cutout = image.convert("RGBA")
            found[f"{path.parent.name}-{path.stem}"] = cutout.crop(cutout.getbbox())
    if not found:
        raise DataError(f"{root}: no animals found", "the list is of Debian 12's version")
    return found


def calibrates(name: str) -> bool:
    """Whether an animal is on the calibration side."""
    return name.split("-", 1)[1][0].lower() <= LAST_CALIBRATION_LETTER


def random_crop(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """A square of `SIDE` pixels."""
    side = min(photo.size)
    size = round(side * random.uniform(SMALLEST_CROP, 1.0))
    left, top = (int(random.integers(0, length - size + 1)) for length in photo.size)
    box = (left, top, left + size, top + size)
    return photo.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)


def pasted(
    animal: Image.Image, background: Image.Image, random: np.random.Generator
) -> Image.Image:
    """The animal somewhere inside a square background."""
    factor = SIDE * random.uniform(*ANIMAL_SHARE) / max(animal.size)
    size = tuple(max(1, round(length * factor)) for length in animal.size)
    scaled = animal.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    left, top = (int(random.integers(0, SIDE - length + 1)) for length in size)
    background.paste(scaled, (left, top), scaled)
    return background


def write(side: Side, folder: Path) -> int:
    """Write one side's pictures as PNG; returns how many."""
    folder.mkdir()
    random = np.random.Generator(np.random.PCG64(side.seed))
    for name, photo in side.photos.items():
        photo.save(folder / f"{name}.png")
        for i in range(side.crops):
            random_crop(photo, random).save(folder / f"{name}-{i}.png")
    names = list(side.photos)
    for name, animal in side.animals.items():
        for i in range(side.scenes):
            photo = side.photos[names[random.integers(len(names))]]
            picture = pasted(animal, random_crop(photo, random), random)
            picture.save(folder / f"animal-{name}-{i}.png")
    return len(list(folder.iterdir()))


def make(out: Path) -> tuple[int, int]:
    """Write both folders and the licenses; returns how many pictures there are in each."""
    with tempfile.TemporaryDirectory() as temporary, replace_directory(out, why_not_ours) as folder:
        packages = Path(temporary)
        download(PACKAGES, packages)
        animals = animals_of(packages)
        calibration = Side(
            photos=photos_of(packages, CALIBRATION),
            animals={name: image for name, image in animals.items() if calibrates(name)},
            crops=0,
            scenes=1,
            seed=0,
        )
        held_out = Side(
            photos=photos_of(packages, HELD_OUT),
            animals={name: image for name, image in animals.items() if not calibrates(name)},
            crops=CROPS,
            scenes=SCENES,
            seed=1,
        )
        counts = write(calibration, folder / "calibration"), write(held_out, folder / "held-out")
        for package in PACKAGES:
            source = packages / package / "usr/share/doc" / package / "copyright"
            shutil.copy(source, folder / f"{package}.copyright")
    return counts


def why_not_ours(folder: Path) -> str:
    """Why a directory is not what an earlier run wrote; empty if it is."""
    ours = {"calibration", "held-out", *(f"{package}.copyright" for package in PACKAGES)}
    foreign = sorted({path.name for path in folder.iterdir()} - ours)
    return f"it also holds {', '.join(foreign[:3])}" if foreign else ""


def main() -> int:
    """Write both folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    try:
        calibration, held_out = make(out)
    except ExportError as error:
        print(f"{error.message}: {error.hint}", file=sys.stderr)
        return error.exit_code
    print(f"{out}: {calibration} pictures to calibrate, {held_out} held out")
    return int(held_out < FEWEST_HELD_OUT)


if __name__ == "__main__":
    sys.exit(main())
