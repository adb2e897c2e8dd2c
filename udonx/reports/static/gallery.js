// The gallery of a table: two rows beside each other, and confusions across domains.
"use strict";

const AT_ONCE = 12;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// ---------------------------------------------------------------------------------------- two rows

const KINDS = {
  "10": "A finds, B misses",
  "01": "B finds, A misses",
  "00": "both miss",
  "11": "both find",
};

function startGallery(data) {
  const [rowA, rowB, kind, domain, count, cards, more] =
    ["a", "b", "kind", "domain", "count", "cards", "more"].map((name) =>
      document.getElementById(`gallery-${name}`));
  const folder = cards.dataset.pictures;

  function picture(number, says) {
    const [name, file] = data.images[number];
    const alt = `${says}, ${name}`;
    const made = element(file ? "img" : "span", file ? "" : "no-picture", file ? undefined : alt);
    made.title = name;
    if (file) Object.assign(made, { loading: "lazy", alt, src: folder + file });
    return made;
  }

  function strip(found) {
    const list = element("ol", "strip");
    for (const [number, right, score] of found) {
      const verdict = right ? "right" : "wrong";
      const item = element("li", verdict);
      const mark = element("span", "", right ? "✓" : "✗");
      mark.setAttribute("aria-hidden", "true");
      const line = element("span", "verdict");
      line.append(mark, ` ${score.toFixed(2)}`);
      const where = element("span", "where", data.images[number][0].split("/")[0]);
      item.append(picture(number, verdict), line, where);
      list.append(item);
    }
    return list;
  }

  function card(query) {
    const made = element("article", "card");
    const asked = element("div", "query");
    asked.append(picture(query.image, "query"), element("span", "where", query.domain));
    const found = element("div", "found");
    for (const [letter, select] of [["A", rowA], ["B", rowB]]) {
      const label = select.selectedOptions[0].textContent;
      found.append(element("p", "finder", `${letter}: ${label}`), strip(query.found[select.value]));
    }
    made.append(asked, found);
    return made;
  }

  const finds = (query, row) => (query.found[row][0]?.[1] ? 1 : 0);
  const kindOf = (query) => `${finds(query, rowA.value)}${finds(query, rowB.value)}`;

  function show() {
    const there = data.queries.filter((query) => !domain.value || query.domain === domain.value);
    const chosen = kind.value || "10";
    kind.replaceChildren(...Object.entries(KINDS).map(([key, words]) => {
      const total = there.filter((query) => kindOf(query) === key).length;
      const option = element("option", "", `${words} (${total})`);
      option.value = key;
      option.selected = key === chosen;
      return option;
    }));
    let left = there.filter((query) => kindOf(query) === chosen);
    count.textContent = left.length ? "" : "none among the chosen queries";
    cards.replaceChildren();
    more.onclick = () => {
      cards.append(...left.slice(0, AT_ONCE).map(card));
      left = left.slice(AT_ONCE);
      more.hidden = !left.length;
      more.textContent = `Show ${Math.min(AT_ONCE, left.length)} more of ${left.length}`;
    };
    more.onclick();
  }

  [rowA, rowB, kind, domain].forEach((select) => select.addEventListener("change", show));
  show();
}

// -------------------------------------------------------------------------------------- confusions

function startConfusions(data) {
  const row = document.getElementById("confusions-row");
  const table = document.getElementById("confusions");
  function show() {
    const counts = data[row.value];
    const totals = counts.map((of) => of.reduce((sum, each) => sum + each, 0));
    for (const cell of table.querySelectorAll("[data-nearest]")) {
      const { query, nearest } = cell.dataset;
      const number = counts[query][nearest];
      const share = totals[query] ? number / totals[query] : 0;
      cell.textContent = number;
      cell.classList.toggle("none", number === 0);
      cell.title = `${(100 * share).toFixed(1)} % of ${totals[query]} queries`;
      cell.style.setProperty("--share", `${(100 * share).toFixed(1)}%`);
    }
    for (const cell of table.querySelectorAll("[data-elsewhere]")) {
      const query = Number(cell.dataset.elsewhere);
      const away = totals[query] - counts[query][query];
      cell.textContent = totals[query] ? `${(100 * away / totals[query]).toFixed(1)} %` : "–";
    }
  }
  row.addEventListener("change", show);
  show();
}

const galleryData = document.getElementById("gallery-data");
if (galleryData) startGallery(JSON.parse(galleryData.textContent));
const confusionsData = document.getElementById("confusions-data");
if (confusionsData) startConfusions(JSON.parse(confusionsData.textContent));
