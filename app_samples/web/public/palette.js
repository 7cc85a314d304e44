// A color for every class. The first seven are Okabe and Ito's ("Color Universal Design", 2008), made
// for color-blind people too; beyond twenty they repeat, and the labels tell classes apart.
const PALETTE = [
  [230, 159, 0],
  [86, 180, 233],
  [0, 158, 115],
  [240, 228, 66],
  [0, 114, 178],
  [213, 94, 0],
  [204, 121, 167],
  [135, 0, 240],
  [0, 255, 135],
  [135, 60, 45],
  [150, 120, 255],
  [180, 240, 195],
  [150, 165, 90],
  [165, 0, 120],
  [150, 240, 255],
  [180, 0, 0],
  [225, 0, 90],
  [255, 120, 150],
  [210, 0, 180],
  [135, 30, 195],
];

/** [red, green, blue] of a class from 1 on; 0 is the background, which has none. */
export function classColor(index) {
  return PALETTE[(index - 1) % PALETTE.length];
}

/** Black or white, whichever stands out more on a color. */
export function readableOn(color) {
  const light = luminance(color) + 0.05;
  return light / 0.05 >= 1.05 / light ? '#000' : '#fff';
}

/** WCAG's relative luminance of sRGB, 0 to 1. */
export function luminance(color) {
  const [red, green, blue] = color.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;
