"""Draw the demo's emoji once, at 64 px, into one lossless sprite sheet per style.

An authoring tool: the package ships its output and never runs it. It needs the SVG collections of
five npm packages, each unpacked below one folder, and the PyPI package `resvg-py` (0.5.0 drew the
shipped files):

    mkdir icons
    for set in noto fluent-emoji fluent-emoji-flat fxemoji twemoji; do
        npm pack @iconify-json/$set && mkdir -p icons/$set
        tar -xzf iconify-json-$set-[0-9]*.tgz -C icons/$set --strip-components=1
    done
    python tools/rasterize_emoji.py icons --out exporter/demo

Running it again on the same versions writes the same bytes. Licenses: exporter/demo/NOTICE.txt.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

STYLES = ("noto", "fluent-emoji", "fluent-emoji-flat", "fxemoji", "twemoji")
TILE = 64  # pixels; the drawing fills TILE - 2 * MARGIN
MARGIN = 1
OVERSAMPLED = 256
COLUMNS = 10
COLOR_LEVELS, ALPHA_LEVELS = 64, 32  # per channel; keeps the five sheets under 500 KB
OPAQUE_ENOUGH = 8  # alpha below this does not count when the drawing's bounds are measured

# label -> the variants by the name that four collections share; fxemoji's own name follows "=".
CLASSES = {
    "apple": "red-apple=redapple green-apple=greenapple",
    "ball": "soccer-ball=soccerball baseball american-football=americanfootball "
    "rugby-football=rugbyfootball",
    "bird": "bird baby-chick=babychick front-facing-baby-chick=frontfacingchick rooster",
    "book": "closed-book=closedbook green-book=greenbook blue-book=bluebook books "
    "open-book=openbook",
    "cake": "birthday-cake=birthdaycake shortcake",
    "camera": "camera camera-with-flash=camerawithflash video-camera=handheldvideocamera",
    "car": "automobile oncoming-automobile=oncomingautomobile taxi oncoming-taxi=oncomingtaxi "
    "sport-utility-vehicle=recreationalvehicle",
    "cat": "cat-face=cat cat=catside",
    "clock": "one-oclock=clock1oclock three-oclock=clock3oclock five-thirty=clock5thirty "
    "alarm-clock=alarmclock mantelpiece-clock=manltepiececlock",
    "cup": "hot-beverage=hotbeverage teacup-without-handle=teacupwithouthandle",
    "dog": "dog-face=dog dog=dogside poodle",
    "fish": "fish tropical-fish=tropicalfish blowfish",
    "flower": "tulip rose hibiscus sunflower blossom",
    "glasses": "glasses sunglasses=darksunglasses",
    "house": "house=housebuilding house-with-garden=housewithgarden houses=housebuildings",
    "ice cream": "soft-ice-cream=softicecream ice-cream=icecream shaved-ice=shavedice",
    "key": "key old-key=oldkey",
    "mobile phone": "mobile-phone=cellphone mobile-phone-with-arrow=phonerightarrowleft",
    "pen": "pencil=lowerleftpencil pen=lowerleftpen crayon=lowerleftcrayon",
    "shirt": "t-shirt=mansshirt womans-clothes=womansshirt running-shirt=runningshirt",
    "shoe": "mans-shoe=mensshoe running-shoe=mensrunner high-heeled-shoe=heels womans-boot=boot",
    "train": "train tram light-rail=lightrail high-speed-train=highspeedtrain",
    "tree": "evergreen-tree=evergreen deciduous-tree=deciduoustree palm-tree=palmtree "
    "christmas-tree=christmastree",
    "umbrella": "umbrella umbrella-with-rain-drops=umbrellawithraindrops",
}


def variants() -> list[tuple[str, str, str]]:
    """(label, shared name, fxemoji name) of every sprite, in the order of the tiles."""
    rows = []
    for label, names in CLASSES.items():
        for name in names.split():
            shared, _, own = name.partition("=")
            rows.append((label, shared, own or shared))
    return rows


def svg(collection: dict[str, Any], name: str) -> str:
    """One icon of an Iconify collection as a complete SVG document."""
    name = collection.get("aliases", {}).get(name, {}).get("parent", name)
    icon = {"left": 0, "top": 0, **collection, **collection["icons"][name]}
    box = " ".join(str(icon.get(key, 16)) for key in ("left", "top", "width", "height"))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}">{icon["body"]}</svg>'
    )


def draw(document: str) -> Image.Image:
    """RGBA tile of TILE px: the drawing cropped to its bounds, centered, scaled to fill."""
    data = resvg_py.svg_to_bytes(svg_string=document, width=OVERSAMPLED, height=OVERSAMPLED)
    image = Image.open(io.BytesIO(bytes(data))).convert("RGBA")
    rows, columns = np.nonzero(np.asarray(image)[..., 3] >= OPAQUE_ENOUGH)
    image = image.crop((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    ratio = (TILE - 2 * MARGIN) / max(image.size)
    size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
    tile = Image.new("RGBA", (TILE, TILE))
    tile.paste(
        image.resize(size, Image.Resampling.BOX), ((TILE - size[0]) // 2, (TILE - size[1]) // 2)
    )
    return tile


def sheet(collection: dict[str, Any], names: list[str]) -> Image.Image:
    """All tiles of one style, row by row; invisible pixels are black so that they cost nothing."""
    image = Image.new("RGBA", (COLUMNS * TILE, -(-len(names) // COLUMNS) * TILE))
    for index, name in enumerate(names):
        where = (index % COLUMNS * TILE, index // COLUMNS * TILE)
        image.paste(draw(svg(collection, name)), where)
    pixels = np.array(image)
    pixels[..., :3] = reduce_levels(pixels[..., :3], COLOR_LEVELS)
    pixels[..., 3] = reduce_levels(pixels[..., 3], ALPHA_LEVELS)
    pixels[pixels[..., 3] == 0] = 0
    return Image.fromarray(pixels)


def reduce_levels(values: np.ndarray, levels: int) -> np.ndarray:
    """The nearest of `levels` evenly spaced uint8 values that include 0 and 255."""
    steps = levels - 1
    return (np.rint(np.rint(values * (steps / 255.0)) * (255.0 / steps))).astype(np.uint8)


def main() -> None:
    """Write `emoji-STYLE.webp` for each style, and `index.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("icons", type=Path, help="folder with the five unpacked packages")
    parser.add_argument("--out", type=Path, default=Path("exporter/demo"))
    args = parser.parse_args()
    rows = variants()
    for style in STYLES:
        text = (args.icons / style / "icons.json").read_text(encoding="utf-8")
        names = [own if style == "fxemoji" else shared for _, shared, own in rows]
        image = sheet(json.loads(text), names)
        path = args.out / f"emoji-{style}.webp"
        image.save(path, lossless=True, quality=100, method=6, exact=True)
    index = {
        "tile_px": TILE,
        "columns": COLUMNS,
        "styles": {style: f"emoji-{style}.webp" for style in STYLES},
        "sprites": [{"label": label, "variant": shared} for label, shared, _ in rows],
    }
    (args.out / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
