// Tints of the history's chips: what each item did to a model's prediction, which is asked for when the page is idle.

import { clip, el, labelled, option, setAttribute, setText } from "./base.js";

const IDLE = 600; // ms without a change
const STRONGEST = 45; // percent of colour behind the text of the item that did most

/**
 * Return the control, and `paint(chips, items)`, which colours chips by their items' effects, as far as they are known.
 * `redraw` draws the chips and paints them again.
 */
export function historyTints(app, redraw) {
  let found = null; // the last answer, and what it is of
  let asked = null;
  let timer = null;
  const by = el("select", { onchange: redraw });
  const legend = el("p", { class: "cx-note cx-tints" });
  const up = el("span", { class: "cx-swatch cx-raised" });
  const down = el("span", { class: "cx-swatch cx-lowered" });
  const what = el("span");
  legend.append(what, up, el("span", {}, "raised "), down, el("span", {}, "lowered"));
  const node = el("div", { class: "cx-why" }, labelled("Tints: what each item did, by", by), legend);
  const model = () => Number(by.value);
  const item = () => (app.view.state.selection.length === 1 ? app.view.state.selection[0] : null);

  function key(history = app.view.history) {
    const { state } = app.view;
    return JSON.stringify([state.case, history, state.settings[model()]?.head, by.value, item()]);
  }

  function onBase({ models }) {
    const able = [...models.keys()].filter((index) => models[index].encodes && !models[index].ordered);
    by.replaceChildren(...able.map((index) => option(index, models[index].name)), option("", "off"));
    by.value = able[0] ?? "";
  }

  function paint(chips, items) {
    const now = key(items);
    clearTimeout(timer);
    if (by.value !== "" && found?.key !== now && items.length > 1) timer = setTimeout(ask, IDLE);
    const { rows = [] } = found?.key === now ? found : {};
    const code = item();
    const effects = new Map(rows.map((row) => [row.position, code === null ? row.copied : row.gained]));
    const most = Math.max(...[...effects.values()].map(Math.abs), Number.MIN_VALUE);
    chips.forEach((chip, position) => paintOne(chip, effects.get(position) ?? null, most, code));
    legend.hidden = !rows.length;
    const { toward, scale, axes, temperature, best } = app.view.state.settings[model()] ?? {};
    const moved = toward || best || scale !== 1 || temperature !== 1 || axes?.some(Boolean);
    const of = code === null ? "P(history)" : clip(app.title(code), 60);
    setText(what, `${of}${moved ? ", as if the state were not moved" : ""}: `);
  }

  function paintOne(chip, effect, most, code) {
    const side = effect > 0 ? "raised" : "lowered";
    const strength = effect === null ? 0 : Math.round((STRONGEST * Math.abs(effect)) / most);
    setAttribute(chip, "data-effect", strength ? side : null);
    chip.style.setProperty("--cx-strength", `${strength}%`);
    const said = effect === null ? "" : `${side} ${sizeOf(effect, code)}`;
    setText(chip.querySelector(".cx-heard"), said && `, ${said}`);
    if (said) setAttribute(chip, "title", `${said}\n${chip.title}`);
  }

  function sizeOf(effect, code) {
    if (code === null) return `P(history) by ${Math.abs(100 * effect).toFixed(2)} points`;
    return `${clip(app.title(code), 60)}'s probability ${Math.exp(Math.abs(effect)).toFixed(2)}-fold`;
  }

  function ask() {
    asked = { key: key(), model: model(), item: item() };
    app.ask("left_out", { model: asked.model, item: asked.item ?? app.view.case.target });
  }

  function onAnswer({ kind, value }) {
    if (kind !== "left_out" || asked?.key !== key() || value.model !== asked.model) return;
    found = { key: asked.key, rows: value.rows };
    redraw();
  }

  return { node, onBase, onAnswer, paint, dispose: () => clearTimeout(timer) };
}
