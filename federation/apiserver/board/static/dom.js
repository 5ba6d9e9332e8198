// Elements made by hand. Whatever comes from objects becomes text or an attribute's value, never markup.

/**
 * An element: `el("p", {class: "hint", onclick: go}, "text", other)`.
 * Strings among the children become text; null and undefined are left away.
 */
export function el(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  fill(element, ...children);
  return element;
}

export function fill(element, ...children) {
  const shown = children.flat(Infinity).filter((child) => child !== null && child !== undefined);
  element.replaceChildren(...shown);
  return element;
}

/** Text of others, which may run from right to left or be very long. */
export function foreign(text, limit = 2000) {
  const shown = String(text ?? "");
  const element = document.createElement("bdi");
  element.textContent = shown.length > limit ? `${shown.slice(0, limit)}…` : shown;
  return element;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Calls `work` once for all that happens within a moment; hidden tabs wait longer by themselves. */
export function gathered(work, milliseconds = 60) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      work();
    }, milliseconds);
  };
}
