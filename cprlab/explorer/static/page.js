// The explorer as one offline page: opens the models in it, and keeps the state in the address, after the #.

import { render } from "./explorer.js";
import { readSafetensors } from "./model.js";
import { kernel } from "./offline.js";
import { predictor } from "./predict.js";

const SETTLED = 300; // ms without a change, after which the address is changed, since browsers limit how often it is

/** Draw the explorer in `place`; what cannot be opened is said there. */
export async function open(place) {
  try {
    const data = JSON.parse(new TextDecoder().decode(await unpacked("cprlab-data")));
    const models = await Promise.all(
      data.models.map(async (model, index) => predictor(model, await weights(index), data.grammar)),
    );
    let timer = null;
    const keep = (state) => {
      clearTimeout(timer);
      const address = `#${encodeURIComponent(JSON.stringify(state))}`;
      timer = setTimeout(() => history.replaceState(null, "", address), SETTLED);
    };
    const known = kernel(data, models, asked() || JSON.stringify(data.state), keep);
    window.addEventListener("hashchange", () => known.load(asked() || JSON.stringify(data.state)));
    place.replaceChildren();
    render({ model: known, el: place });
  } catch (error) {
    place.textContent = `This page cannot be shown: ${error.message}`;
  }
}

/** Return the state in the address as text; what is not written as one is left for the kernel to refuse. */
function asked() {
  const text = location.hash.slice(1);
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
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
