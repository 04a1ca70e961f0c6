// The explorer as one offline page: opens the models in it, and keeps the state in the address, after the #.

import { stateAddress } from "./address.js";
import { render } from "./explorer.js";
import { readSafetensors } from "./model.js";
import { kernel } from "./offline.js";
import { predictor } from "./predict.js";

/** Draw the explorer in `place`; what cannot be opened is said there. */
export async function open(place) {
  try {
    const data = JSON.parse(new TextDecoder().decode(await unpacked("cprlab-data")));
    const models = await Promise.all(
      data.models.map(async (model, index) => predictor(model, await weights(index), data.grammar)),
    );
    const address = stateAddress();
    const asked = () => address.asked() || JSON.stringify(data.state);
    const known = kernel(data, models, asked(), address.keep);
    window.addEventListener("hashchange", () => known.load(asked()));
    place.replaceChildren();
    render({ model: known, el: place });
  } catch (error) {
    place.textContent = `This page cannot be shown: ${error.message}`;
  }
}

/** Return the tensors of a model: of its .safetensors file, offline.py puts the first bytes of all fours first. */
async function weights(index) {
  const parted = await unpacked(`cprlab-weights-${index}`);
  const file = parted.slice();
  const quads = parted.length >> 2;
  for (let i = 0; i < 4 * quads; i++) file[i] = parted[(i & 3) * quads + (i >> 2)];
  return readSafetensors(file.buffer);
}

/** Return the bytes of an element's text: base64 of a gzip. */
async function unpacked(id) {
  const packed = atob(document.getElementById(id).textContent);
  const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
  const opened = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(opened).arrayBuffer());
}
