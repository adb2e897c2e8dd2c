// Theme, sorting, filter and choice of the reference row. No library, no network.
"use strict";

// ------------------------------------------------------------------------------------------ theme

const THEMES = ["system", "light", "dark"];

// a browser may forbid pages on disk to keep anything: then the choice lasts as long as the page
function kept(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}
function keep(name, value) {
  try { localStorage.setItem(name, value); } catch { return; }
}

function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  document.getElementById("theme").textContent = `Theme: ${theme}`;
}

function startTheme() {
  let theme = THEMES.includes(kept("udonx-theme")) ? kept("udonx-theme") : "system";
  setTheme(theme);
  document.getElementById("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    keep("udonx-theme", theme);
    setTheme(theme);
  });
}

// ---------------------------------------------------------------------------------------- sorting

function sortKey(row, column, isText) {
  const cell = row.cells[column];
  if (isText) return cell.textContent.trim().toLowerCase();
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
}

function compareKeys(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return a < b ? -1 : a > b ? 1 : 0;
}

function sortBy(table, header, order) {
  const body = table.tBodies[0];
  const column = header.cellIndex;
  const isText = header.dataset.kind === "text";
  const rows = [...body.rows];
  const key = (row) => (order === "none" ? Number(row.dataset.order) : sortKey(row, column, isText));
  const sign = order === "descending" ? -1 : 1;
  const keys = new Map(rows.map((row) => [row, key(row)]));
  rows.sort((a, b) => {
    const [first, second] = [keys.get(a), keys.get(b)];
    // what has no value stays at the end in both orders
    const missing = first === null || second === null;
    return (missing ? 1 : sign) * compareKeys(first, second);
  });
  body.append(...rows);
  for (const other of table.tHead.rows[0].cells) {
    other.setAttribute("aria-sort", other === header ? order : "none");
  }
}

function makeSortable(table) {
  [...table.tBodies[0].rows].forEach((row, order) => { row.dataset.order = order; });
  for (const header of table.tHead.rows[0].cells) {
    const isText = header.dataset.kind === "text";
    const orders = isText ? ["ascending", "descending", "none"] : ["descending", "ascending", "none"];
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    header.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const next = orders.indexOf(header.getAttribute("aria-sort")) + 1;
      sortBy(table, header, orders[next % orders.length]);
    });
  }
}

// ----------------------------------------------------------------------------------------- filter

function makeFilter(input) {
  const table = document.getElementById(input.dataset.filter);
  const count = document.querySelector(`[data-count="${input.dataset.filter}"]`);
  const rows = [...table.tBodies[0].rows];
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.dataset.text.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
}

// ---------------------------------------------------------------------------------- reference row

const DIFFERENCES = "differences";

function formatPoints(value) {
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(1);
}

// what row minus reference is in a column: [point, low, high], null where nothing is known
function differenceOf(all, row, reference, column) {
  const swap = row < reference;
  const found = all[swap ? `${reference}-${row}` : `${row}-${reference}`]?.[column];
  if (!found) return null;
  const [point, low, high] = found;
  if (!swap) return found;
  return low === null ? [-point, null, null] : [-point, -high, -low];
}

function showDifference(span, difference) {
  span.className = "diff";
  span.textContent = "";
  if (difference === null) return;
  const [point, low, high] = difference;
  span.textContent = formatPoints(point);
  if (low === null) return;
  span.textContent += ` [${formatPoints(low)}, ${formatPoints(high)}]`;
  span.classList.add(low <= 0 && high >= 0 ? "unclear" : point > 0 ? "better" : "worse");
}

function startReference(select) {
  const all = JSON.parse(document.getElementById(DIFFERENCES).textContent);
  const table = document.getElementById("figures");
  const show = () => {
    const reference = select.value === "" ? null : Number(select.value);
    for (const row of table.tBodies[0].rows) {
      const position = Number(row.dataset.row);
      row.classList.toggle("chosen", position === reference);
      for (const cell of row.cells) {
        const span = cell.querySelector(".diff");
        if (!span) continue;
        const none = reference === null || reference === position;
        const column = cell.dataset.key;
        showDifference(span, none ? null : differenceOf(all, position, reference, column));
      }
    }
    document.getElementById("explain").hidden = reference === null;
  };
  select.addEventListener("change", show);
  show();
}

// ------------------------------------------------------------------------------------------ start

startTheme();
document.querySelectorAll("[data-sortable]").forEach(makeSortable);
document.querySelectorAll("[data-filter]").forEach(makeFilter);
const reference = document.getElementById("reference");
if (reference) startReference(reference);
document.getElementById("narrow")?.addEventListener("change", (event) => {
  document.getElementById("figures").classList.toggle("narrow", event.target.checked);
});
