"use strict";

function element(tag, text, ...children) {
  const made = document.createElement(tag);
  made.textContent = text;
  made.append(...children);
  return made;
}

function table(header, lines) {
  const head = element("tr", "", ...header.map((text) => element("th", text)));
  const rows = lines.map((line) => element("tr", "", ...line.map((text) => element("td", text))));
  return element("table", "", element("thead", "", head), element("tbody", "", ...rows));
}

function allowed(schema) {
  const kinds = (schema.anyOf ?? [schema]).filter((each) => each.type !== "null");
  const words = kinds.map((each) => (each.enum ? each.enum.join(" or ") : each.type));
  const { minimum, maximum } = kinds[0];
  return words.join(" or ") + (minimum === undefined ? "" : `, ${minimum} to ${maximum}`);
}

function operation(method, path, told) {
  const parts = [element("h2", `${method.toUpperCase()} ${path}`), element("p", told.description)];
  if (told.parameters) {
    const lines = told.parameters.map((each) => [
      each.name,
      allowed(each.schema),
      String(each.schema.default ?? (each.required ? "required" : "-")),
      each.description ?? "",
    ]);
    parts.push(table(["parameter", "type", "default", "what it is"], lines));
  }
  if (told.requestBody) {
    parts.push(element("p", told.requestBody.description));
    const command = `curl --data-binary @photo.jpg ${location.origin}${path}`;
    parts.push(element("pre", command));
  }
  const answers = Object.entries(told.responses).map(([code, each]) => [code, each.description]);
  parts.push(table(["status", "when"], answers));
  return element("section", "", ...parts);
}

async function introduce() {
  const api = await (await fetch("/openapi.json")).json();
  document.getElementById("about").textContent = api.info.description;
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, told] of Object.entries(methods)) {
      document.getElementById("operations").append(operation(method, path, told));
    }
  }
}

introduce();
