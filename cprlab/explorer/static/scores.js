// The score strip: all items of each model on one axis, by log-probability, with the items of the case marked.

import { clip, el, floatsOf, integer, percent, setAttribute, setText, setTitle, uniqueId } from "./base.js";
import { svg, symbolOf } from "./map.js";

const LANES = { target: [9, 9], interfering: [25, 25], history: [40, 72] }; // from, to: px from the top
const ROW = 8; // px between two rows of a lane, and between two marks in a row
const [BASE, TALL, HEIGHT] = [124, 44, 142]; // of the bars: px from the top, px at most; px of the strip
const [LEFT, RIGHT, LESS] = [40, 18, 12]; // px before 10⁻⁹ or so and after 100%; where all that is less is drawn
const BIN = 4; // px
const NEAR = 8; // px within which an item is under the pointer
const DECADE = Math.log(10);
const LABELS = ["100%", "10%", "1%", "0.1%", "0.01%", "10⁻⁵", "10⁻⁶", "10⁻⁷", "10⁻⁸", "10⁻⁹"];
const DECADES = [3, LABELS.length - 1]; // on the axis, at least and at most
const ABOUT = {
  history: "in the history",
  interfering: "interfering",
  target: "true next item",
  other: "not in the history",
};
const KEYS =
  "arrow left and right go to the next worse and better item, up and down to the next marked one; Enter selects";

export function scoresView(root, app) {
  let strips = [];
  let known = null; // the case, and the first decade of the axis in it
  const legend = el("ul", { class: "cx-legend", "aria-label": "Legend of the scores" });
  const list = el("div", { class: "cx-strips" });
  const note = el(
    "p",
    { class: "cx-note" },
    "The axis is the log-probability: for one softmax, the logit minus a constant. Grey bars count the other items, " +
      "on a logarithmic scale. Thin lines begin where the vocabulary's hidden state alone would score an item.",
  );
  root.append(legend, list, note);
  new ResizeObserver(draw).observe(list);

  function draw() {
    app.later("strips", () => {
      if (!app.view || !list.clientWidth) return;
      const least = Math.floor(Math.min(...strips.map((one) => one.least())) / DECADE);
      const low = Math.max(-DECADES[1], Math.min(-DECADES[0], least));
      const kept = known?.case === app.view.state.case ? known.low : 0; // so that the axis stays while sliders move
      known = { case: app.view.state.case, low: Math.min(low, kept) };
      for (const one of strips) one.draw(known.low, list.clientWidth);
    });
  }

  return {
    onBase(base) {
      strips = base.models.map((model, index) => strip(app, index));
      list.replaceChildren(...strips.map((one) => one.node));
      const history = symbolOf(base, "history");
      const entries = [
        ["in the history, above all others", history],
        ["in the history, below one", hollow(symbolOf(base, "history"))],
        ["interfering", symbolOf(base, "interfering")],
        ["true next item", symbolOf(base, "target")],
        ["best of the others", svg("line", { class: "cx-strip-best", y1: -8, y2: 8 })],
      ];
      const box = { viewBox: "-10 -10 20 20", width: 18, height: 18, "aria-hidden": "true" };
      legend.replaceChildren(...entries.map(([text, drawn]) => el("li", {}, svg("svg", box, drawn), text)));
      draw();
    },
    onScores(message, buffers) {
      strips.forEach((one, index) => one.update(message.models[index], floatsOf(buffers[index])));
      draw();
    },
    render: draw,
    onSelect: draw,
  };
}

/** One model's strip; `update` takes its part of the message and draws nothing. */
function strip(app, index) {
  const model = app.base.models[index];
  let [marks, constant, scores] = [[], null, new Float32Array()];
  let [order, cursor] = [null, null]; // items from the best to the worst; the item that the keys are at
  let x = null; // from a score to px
  let best = -Infinity; // the largest score of an item that is not in the history
  const plot = svg("svg", { height: HEIGHT, "aria-hidden": "true" });
  const tip = el("p", { class: "cx-map-tip", role: "status", hidden: true });
  const said = el("p", { class: "cx-strip-said", id: uniqueId("said") });
  const stage = el(
    "div",
    {
      class: "cx-strip",
      role: "application",
      tabindex: "0",
      "aria-label": clip(`Scores of all items by ${model.name}: ${KEYS}`, 400),
      "aria-describedby": said.id,
      "data-lm-suppress-shortcuts": "true",
    },
    plot,
    tip,
  );
  const name = el("h4");
  const node = el("article", {}, name, stage, said);
  setTitle(name, model.name);

  function update(message, given) {
    const theirs = new Set(app.view.history);
    marks = message.marks.map((mark) => {
      return { ...mark, score: mark.score ?? -Infinity, own: theirs.has(mark.item) }; // JSON has no infinity
    });
    [constant, scores, order] = [message.constant, given, null];
    const own = marks.filter((mark) => mark.own);
    const lowest = Math.min(...own.map(({ score }) => score));
    let higher = 0;
    best = -Infinity;
    for (let item = 0; item < scores.length; item++) {
      if (theirs.has(item)) continue;
      if (scores[item] > best) best = scores[item];
      if (scores[item] > lowest) higher += 1;
    }
    for (const mark of marks) mark.above = mark.score > best;
    const above = own.filter((mark) => mark.above).length;
    const lies = (number) => (number === 1 ? "lies" : "lie");
    const many = `${above} of the history's ${own.length} different items ${lies(above)} above all others`;
    const one = `The history's only item ${above ? "lies" : "does not lie"} above all others`;
    setText(
      said,
      model.ordered || !scores.length
        ? clip(model.ordered)
        : `${own.length > 1 ? many : one}; ${integer(higher)} others ${lies(higher)} above ` +
            `${own.length > 1 ? "the lowest of them" : "it"}.`,
    );
    stage.hidden = !scores.length;
    if (cursor >= scores.length) cursor = null;
    tip.hidden = true;
  }

  /** The smallest score that is not −∞, or 0. */
  function least() {
    let found = 0;
    for (const score of scores) if (score < found && score > -Infinity) found = score;
    return found;
  }

  function draw(low, width) {
    if (!scores.length) return;
    x = (score) => {
      const share = 1 - score / (low * DECADE);
      return share < 0 ? LESS : LEFT + share * (width - LEFT - RIGHT);
    };
    setAttribute(plot, "width", width);
    lay();
    const liftOf = (mark) => `M${px(x(mark.alone))} ${mark.y}H${px(mark.x)}`;
    const selection = new Set(app.draft().selection);
    const chosen = [...selection].filter((item) => item < scores.length);
    const lift = marks.filter((mark) => mark.own && mark.alone !== null && Math.abs(x(mark.alone) - mark.x) > ROW / 2);
    plot.replaceChildren(
      ...axis(low, width),
      svg("path", { class: "cx-strip-bars", d: bars(width) }),
      svg("path", { class: "cx-strip-chosen", d: chosen.map((item) => `M${px(x(scores[item]))} ${BASE}v5`).join("") }),
      svg("line", { class: "cx-strip-best", x1: px(x(best)), x2: px(x(best)), y1: 2, y2: BASE }),
      svg("path", { class: "cx-strip-lift", d: lift.map(liftOf).join("") }),
      ...marks.toReversed().map((mark) => drawn(mark, selection.has(mark.item))),
      ...starred(width),
      svg("path", { class: "cx-strip-cursor", d: cursor === null ? "" : `M${px(x(scores[cursor]))} 0V${BASE}` }),
    );
  }

  /** Give each mark a place; those of a lane that are as good as another lie in other rows. */
  function lay() {
    for (const [kind, [from, to]] of Object.entries(LANES)) {
      const ends = Array((to - from) / ROW + 1).fill(Infinity);
      const own = marks.filter((mark) => mark.kind === kind);
      for (const mark of own.sort((one, other) => other.score - one.score)) {
        mark.x = x(mark.score);
        const free = ends.findIndex((end) => end - mark.x >= ROW);
        const row = free < 0 ? ends.indexOf(Math.max(...ends)) : free;
        ends[row] = mark.x;
        mark.y = from + row * ROW;
      }
    }
  }

  function drawn(mark, selected) {
    const symbol = symbolOf(app.base, mark.kind);
    const ring = svg("circle", { class: "cx-strip-chosen", r: selected ? 8 : 0 });
    const place = `translate(${px(mark.x)} ${mark.y})`;
    const shape = mark.kind === "history" && !mark.above ? hollow(symbol) : symbol;
    return svg("g", { transform: place, "data-kind": mark.kind, "data-item": mark.item }, shape, ring);
  }

  /** The title of the true next item, beside its star. */
  function starred(width) {
    const mark = marks.find(({ kind }) => kind === "target");
    if (!mark) return [];
    const toLeft = mark.x > width / 2;
    const place = { x: px(mark.x + (toLeft ? -13 : 13)), y: mark.y + 4, "text-anchor": toLeft ? "end" : "start" };
    return [svg("text", { class: "cx-strip-text", ...place }, clip(app.title(mark.item), 36))];
  }

  function bars(width) {
    const marked = new Set(marks.map(({ item }) => item));
    const counts = new Uint32Array(Math.ceil(width / BIN) + 1);
    for (let item = 0; item < scores.length; item++) {
      if (!marked.has(item)) counts[Math.floor(x(scores[item]) / BIN)] += 1;
    }
    const most = Math.log1p(Math.max(...counts));
    let path = "";
    counts.forEach((count, bin) => {
      const tall = (TALL * Math.log1p(count)) / most;
      if (count) path += `M${bin * BIN} ${BASE}v${px(-tall)}h${BIN - 1}v${px(tall)}z`;
    });
    return path;
  }

  function axis(low, width) {
    const every = Math.ceil((-low * 52) / (width - LEFT - RIGHT)); // decades between two labels
    const decades = Array.from({ length: -low + 1 }, (_, k) => k + low);
    const label = (at, text) =>
      svg("text", { class: "cx-strip-text", x: px(at), y: HEIGHT - 5, "text-anchor": "middle" }, text);
    const named = decades.filter((decade) => decade % every === 0);
    const labels = named.map((decade) => label(x(decade * DECADE), LABELS[-decade]));
    const ticks = decades.map((decade) => `M${px(x(decade * DECADE))} ${BASE}v3`).join("");
    const under = scores.some((score) => score < low * DECADE) ? [label(LESS, "less")] : [];
    return [svg("path", { class: "cx-strip-axis", d: `M0 ${BASE}H${width}${ticks}` }), ...labels, ...under];
  }

  function ordered() {
    order ??= Uint32Array.from(scores.keys()).sort((one, other) => scores[other] - scores[one] || one - other);
    return order;
  }

  function aboutOf(item) {
    const mark = marks.find((one) => one.item === item);
    const score = mark?.score ?? scores[item];
    const rank = mark?.rank ?? scores.reduce((before, other) => before + (other >= score), 0);
    const nats = (value) => (Number.isFinite(value) ? value.toFixed(2) : "−∞");
    const logit = (value) => nats(value + constant);
    const lifted = mark && mark.alone !== null && Math.abs(mark.alone - score) >= 0.005;
    const alone = lifted ? ` (${logit(mark.alone)} by the hidden state V alone)` : "";
    const scored = constant === null ? `log-probability ${nats(score)}` : `logit ${logit(score)}${alone}`;
    const kinds = ABOUT[mark?.kind ?? "other"] + (mark?.own && mark.kind !== "history" ? ", in the history" : "");
    const ranked = `rank ${integer(rank)} of ${integer(scores.length)}`;
    return [clip(app.title(item), 300), `${kinds}; ${scored}, probability ${percent(Math.exp(score))}, ${ranked}`];
  }

  function tell(item, at) {
    const [title, about] = aboutOf(item);
    tip.replaceChildren(el("span", {}, title), el("small", {}, about));
    tip.hidden = false;
    const right = at > stage.clientWidth / 2;
    tip.style.transform = `translate(${at + (right ? -12 : 12)}px, ${HEIGHT}px) translateX(${right ? -100 : 0}%)`;
  }

  /** The item under a place: the nearest mark, or the item whose score is nearest; −1 if there is none. */
  function pick(left, top) {
    if (!x) return -1;
    const away = (mark) => Math.hypot(mark.x - left, mark.y - top);
    const near = marks.reduce((found, mark) => (found && away(found) <= away(mark) ? found : mark), null);
    if (near && away(near) <= NEAR) return near.item;
    const items = ordered();
    let [from, to] = [0, items.length]; // the first item to the left
    while (from < to) {
      const middle = (from + to) >> 1;
      if (x(scores[items[middle]]) >= left) from = middle + 1;
      else to = middle;
    }
    const beside = [items[from - 1], items[from]].filter((item) => item !== undefined);
    const distance = (item) => Math.abs(x(scores[item]) - left);
    const [item] = beside.sort((one, other) => distance(one) - distance(other));
    return item !== undefined && distance(item) <= NEAR && top > BASE - TALL ? item : -1;
  }

  function go(item) {
    cursor = item;
    const at = x(scores[item]);
    plot.lastElementChild.setAttribute("d", `M${px(at)} 0V${BASE}`);
    tell(item, at);
  }

  function step(by, among) {
    const items = among ? ordered().filter((item) => marks.some((mark) => mark.item === item)) : ordered();
    const first = marks.find(({ kind }) => kind === "target")?.item ?? items[0];
    const place = items.indexOf(cursor ?? first);
    if (cursor === null) return go(first);
    const from = place < 0 ? nearestOf(items) : place + by;
    go(items[Math.min(items.length - 1, Math.max(0, from))]);
  }

  /** The place among some items, from the best to the worst, of the one that follows the cursor. */
  function nearestOf(items) {
    const found = items.findIndex((item) => scores[item] <= scores[cursor]);
    return found < 0 ? items.length - 1 : found;
  }

  const keys = {
    ArrowRight: () => step(-1, false),
    ArrowLeft: () => step(1, false),
    ArrowUp: () => step(-1, true),
    ArrowDown: () => step(1, true),
    Home: () => go(ordered()[0]),
    End: () => go(ordered().at(-1)),
    Enter: (event) => cursor !== null && choose(cursor, event),
    Escape: leave,
  };

  function choose(item, event) {
    app.select([item], { add: event.ctrlKey || event.metaKey || event.shiftKey });
  }

  function leave() {
    cursor = null;
    tip.hidden = true;
    plot.lastElementChild?.setAttribute("d", "");
  }

  const where = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const under = (event) => pick(...where(event));
  stage.addEventListener("pointermove", (event) => {
    const item = under(event);
    if (item >= 0) tell(item, where(event)[0]);
    else tip.hidden = true;
  });
  stage.addEventListener("pointerleave", () => (tip.hidden = true));
  stage.addEventListener("click", (event) => under(event) >= 0 && choose(under(event), event));
  stage.addEventListener("blur", leave);
  stage.addEventListener("keydown", (event) => {
    if (event.altKey || !Object.hasOwn(keys, event.key) || !x) return;
    event.preventDefault();
    event.stopPropagation(); // some of these keys are commands of the notebook
    keys[event.key](event);
  });

  return { node, update, least, draw };
}

const px = (value) => Number(value.toFixed(1));

function hollow(symbol) {
  symbol.removeAttribute("fill");
  symbol.removeAttribute("stroke");
  symbol.setAttribute("class", "cx-strip-hollow");
  return symbol;
}
