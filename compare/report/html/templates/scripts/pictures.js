/* Thumbnails, cut out of sheets that are decoded when first needed. */
const sheets = new Map();

function sheet(number) {
  if (!sheets.has(number)) {
    const text = document.getElementById(`sheet-${number}`).textContent;
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    sheets.set(number, createImageBitmap(new Blob([bytes], { type: "image/jpeg" })));
  }
  return sheets.get(number);
}

const hasPicture = (image) => image >= 0 && images.tile_of[image] >= 0;

/* A canvas with the image, or a word if the report has no picture of it. */
function picture(image) {
  if (!hasPicture(image)) {
    return make("span", { class: "no-picture" }, "no picture kept");
  }
  const size = images.tile, across = images.tiles_across;
  const canvas = make("canvas", { width: size, height: size, "aria-hidden": "true" });
  const tile = images.tile_of[image], inSheet = tile % across ** 2;
  const x = (inSheet % across) * size, y = Math.floor(inSheet / across) * size;
  sheet(Math.floor(tile / across ** 2)).then((bitmap) =>
    canvas.getContext("2d").drawImage(bitmap, x, y, size, size, 0, 0, size, size));
  return canvas;
}
