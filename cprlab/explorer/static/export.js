// Export of a view: CSV (by the kernel), a self-contained page, a picture; and the state as text.

import { button, el, setAttribute } from "./base.js";

const PIXELS = 2; // pixels of a picture for each CSS pixel
const MARGIN = 8; // px around an exported view

export function viewHeader(title, hint) {
  return el("header", {}, el("h3", {}, title), el("p", { class: "cx-hint", title: hint }, hint));
}

export function exportMenu(app, root, name, title) {
  const menu = el("details", { class: "cx-export" });
  const entry = (label, save) =>
    button(label, () => {
      menu.open = false;
      save();
    });
  menu.append(
    el("summary", { "aria-label": `Export ${title}` }, "Export"),
    el(
      "div",
      {},
      entry("CSV", () => app.send({ type: "export", view: name, format: "csv" })),
      entry("HTML", () => guarded(app, () => saveHtml(root, name, title))),
      entry("PNG", () => guarded(app, () => savePng(root, name))),
    ),
  );
  menu.addEventListener("keydown", (event) => event.key === "Escape" && (menu.open = false));
  menu.addEventListener("focusout", (event) => !menu.contains(event.relatedTarget) && (menu.open = false));
  return menu;
}

async function guarded(app, save) {
  try {
    await save();
  } catch (error) {
    app.status(`The view could not be exported: ${error.message}`, { alert: true });
  }
}

export function download(name, blob) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function saveHtml(root, name, title) {
  const page = `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>${title}</title></head>\n<body>\n${
    standalone(root).outerHTML
  }\n</body></html>\n`;
  download(`explorer-${name}.html`, new Blob([page], { type: "text/html" }));
}

async function savePng(root, name) {
  const box = root.getBoundingClientRect();
  const [width, height] = [box.width + 2 * MARGIN, box.height + 2 * MARGIN];
  const xhtml = new XMLSerializer().serializeToString(standalone(root));
  const body = `<foreignObject width="100%" height="100%">${forXml(xhtml)}</foreignObject>`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${body}</svg>`;
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`; // a blob: URL would taint the canvas
  await image.decode();
  const canvas = el("canvas", { width: Math.ceil(PIXELS * width), height: Math.ceil(PIXELS * height) });
  const context = canvas.getContext("2d");
  context.scale(PIXELS, PIXELS);
  context.drawImage(image, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) throw new Error("the browser drew no picture");
  download(`explorer-${name}.png`, blob);
}

/** Remove characters that XML does not allow and titles may contain. */
function forXml(text) {
  return text.toWellFormed().replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "");
}

/** A self-contained copy of a view of its size: its rules, the theme's colours, and pictures for the canvases. */
function standalone(root) {
  const copy = root.cloneNode(true);
  const { width, height } = root.getBoundingClientRect();
  const canvases = root.querySelectorAll("canvas");
  copy.querySelectorAll("canvas").forEach((canvas, index) => {
    const drawn = canvases[index];
    const alt = drawn.getAttribute("aria-label") ?? "";
    const picture = el("img", { src: drawn.toDataURL(), alt, class: drawn.className });
    picture.style.cssText = drawn.style.cssText;
    picture.style.width = `${drawn.clientWidth}px`;
    picture.style.height = `${drawn.clientHeight}px`;
    canvas.replaceWith(picture);
  });
  keepValues(root, copy);
  copy.querySelectorAll(".cx-export").forEach((menu) => (menu.style.visibility = "hidden")); // its place stays
  const css = explorerRules(root);
  const page = el("div", { class: "cprlab-explorer" }, el("style", {}, css), copy);
  for (const name of new Set(css.match(/--(?:jp|cx)-[\w-]+/g))) {
    page.style.setProperty(name, getComputedStyle(root).getPropertyValue(name));
  }
  page.style.boxSizing = "border-box";
  page.style.padding = `${MARGIN}px`;
  page.style.width = `${width + 2 * MARGIN}px`;
  copy.style.minHeight = `${height}px`;
  return page;
}

/** Copy the values of inputs, which a copy of the elements does not keep. */
function keepValues(root, copy) {
  const copies = copy.querySelectorAll("input, select");
  root.querySelectorAll("input, select").forEach((control, index) => {
    if (control.type === "checkbox") setAttribute(copies[index], "checked", control.checked);
    else if (control.tagName === "INPUT") setAttribute(copies[index], "value", control.value);
    else copies[index].querySelectorAll("option")[control.selectedIndex]?.setAttribute("selected", "");
  });
  root.querySelectorAll(".cx-scroll").forEach((box, index) => {
    copy.querySelectorAll(".cx-scroll")[index].firstChild.style.marginTop = `${-box.scrollTop}px`;
  });
}

function explorerRules(root) {
  const sheets = [...document.styleSheets, ...(root.getRootNode().styleSheets ?? [])];
  const rules = new Set(sheets.flatMap(readableRules).map((rule) => rule.cssText));
  return [...rules].filter((text) => text.includes(".cprlab-explorer")).join("\n");
}

function readableRules(sheet) {
  try {
    return [...sheet.cssRules];
  } catch {
    return []; // a sheet of another host, which a page may not read
  }
}

/** The dialog with the state as JSON, to copy, save, edit and load. */
export function stateDialog(app) {
  const text = el("textarea", { "aria-label": "The explorer's state as JSON", spellcheck: "false", rows: 16 });
  const close = () => node.close();
  const node = el(
    "dialog",
    { "aria-label": "State" },
    el("p", {}, "Copy this text to return to the present state later, or paste a saved text and load it."),
    text,
    el(
      "div",
      { class: "cx-buttons" },
      button("Copy", () => copyText(app, text)),
      button("Download", () => download("explorer-state.json", new Blob([text.value], { type: "application/json" }))),
      button("Load", () => {
        app.command("load", text.value);
        close();
      }),
      button("Close", close),
    ),
  );

  function open() {
    text.value = app.view ? JSON.stringify(app.view.state, null, 2) : "";
    node.showModal();
    text.focus();
    text.select();
  }

  return { node, open };
}

async function copyText(app, area) {
  try {
    await navigator.clipboard.writeText(area.value);
    app.status("The state is copied to the clipboard.");
  } catch {
    area.select();
    app.status("The browser does not allow the page to copy; press Ctrl+C.", { alert: true });
  }
}
