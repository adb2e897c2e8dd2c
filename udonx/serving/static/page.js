"use strict";

const at = (id) => document.getElementById(id);
let picture = null; // the file that is searched for
let asked = 0; // number of the last search: answers to earlier ones are dropped

async function introduce() {
  const health = await (await fetch("/health")).json();
  at("about").textContent = `${health.images.toLocaleString()} images, ${health.model}`;
  for (const [name, count] of Object.entries(health.domains)) {
    if (name !== "") at("domain").append(new Option(`${name} (${count})`, name));
  }
}

function show(file) {
  if (at("picture").src) URL.revokeObjectURL(at("picture").src);
  at("picture").src = URL.createObjectURL(file);
  at("picture").hidden = false;
  at("invitation").textContent = file.name || "pasted picture";
}

function card(neighbour) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = `${neighbour.image}?size=large`;
  const image = document.createElement("img");
  image.src = neighbour.image;
  image.alt = neighbour.path;
  image.loading = "lazy";
  link.append(image);
  const words = document.createElement("div");
  for (const [name, text] of [
    ["score", neighbour.score.toFixed(3)],
    ["domain", neighbour.domain],
    ["path", neighbour.path],
  ]) {
    const line = document.createElement("div");
    line.className = name;
    line.textContent = text;
    words.append(line);
  }
  item.append(link, words);
  return item;
}

async function search() {
  if (picture === null) return;
  const number = ++asked;
  at("problem").textContent = "";
  at("status").textContent = "Searching ...";
  const query = new URLSearchParams({ k: at("k").value });
  if (at("domain").value) query.set("domain", at("domain").value);
  let found = null;
  let problem = "";
  try {
    const answer = await fetch(`/search?${query}`, { method: "POST", body: picture });
    found = await answer.json();
    if (!answer.ok) problem = found.detail;
  } catch (error) {
    problem = `The server does not answer (${error.message}).`;
  }
  if (number !== asked) return;
  at("problem").textContent = problem;
  at("neighbours").replaceChildren(...(problem ? [] : found.neighbours.map(card)));
  at("status").textContent = problem
    ? ""
    : `${found.neighbours.length} neighbours in ${Math.round(1000 * found.seconds)} ms`;
}

function take(file) {
  if (!file) return;
  picture = file;
  show(file);
  search();
}

at("file").addEventListener("change", () => take(at("file").files[0]));
at("form").addEventListener("submit", (event) => event.preventDefault());
for (const choice of ["domain", "k"]) at(choice).addEventListener("change", search);
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  if (file) take(file);
  else at("problem").textContent = "The clipboard holds no picture.";
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) {
  document.addEventListener(name, () => at("drop").classList.remove("over"));
}
document.addEventListener("drop", (event) => {
  event.preventDefault();
  take(event.dataTransfer.files[0]);
});
introduce();
