// The page: talks to the server, one request after the other, and shows what it answers.

import { Overlay, covers } from "./masks.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const state = { model: null, image: null, objects: [], current: 0, segments: [], shown: new Set(), queue: Promise.resolve() };
const view = new View($("canvas"), (prompt) => act({ action: "prompt", prompts: [prompt] }));

/** Asks the server; throws an Error with its text when it refuses. */
async function ask(path, body, type = "application/json") {
  let reply;
  try {
    reply = await fetch(path, body === undefined ? {} : { method: "POST", body, headers: { "Content-Type": type } });
  } catch {
    throw new Error("the server does not answer; is it still running?");
  }
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.error);
  return answer;
}

/** Runs a task after those begun before it; its errors are shown. */
function later(text, task) {
  state.queue = state.queue.then(async () => {
    const slow = setTimeout(() => { $("busy-text").textContent = text; $("busy").hidden = false; }, 120);
    try {
      await task();
      $("error").hidden = true;
    } catch (error) {
      $("error").textContent = error.message;
      $("error").hidden = false;
    } finally {
      clearTimeout(slow);
      $("busy").hidden = true;
    }
  });
  return state.queue;
}

function say(text) { $("status").textContent = text; }

function duration(seconds) { return seconds < 1 ? `${Math.round(1000 * seconds)} ms` : `${seconds.toFixed(1)} s`; }

// ---- images ---------------------------------------------------------------------------------------------------------

function open(file) {
  if (!file) return;
  later(`Reading ${file.name} …`, async () => {
    const { upload } = state.model.limits;
    if (file.size > upload) {
      const [size, limit] = [file.size, upload].map((n) => (n / 1e6).toFixed(1));
      throw new Error(`${file.name} has ${size} MB, the limit is ${limit} MB; the server's option --max-upload raises it`);
    }
    const answer = await ask(`api/images?name=${encodeURIComponent(file.name)}`, file, "application/octet-stream");
    const picture = await shown(`api/images/${answer.id}/picture`);
    if (state.image) ask(`api/images/${state.image.id}/close`, "{}").catch(() => {});
    Object.assign(state, { image: answer, objects: [], current: 0, segments: [], shown: new Set() });
    view.overlay = new Overlay(answer.width, answer.height);
    view.prompts = [];
    view.show(picture, answer.width, answer.height);
    $("welcome").hidden = true;
    $("image-name").textContent = `${file.name} · ${answer.width} × ${answer.height}`;
    document.querySelectorAll("aside fieldset, #phrase input, #phrase button").forEach((e) => { e.disabled = false; });
    view.enabled = state.model.prompts.includes("stroke");
    say(`Image read in ${duration(answer.seconds)}.`);
    refresh();
  });
}

/** Loads a picture; unlike decode(), also in a tab that is not in front. */
function shown(address) {
  return new Promise((done, failed) => {
    const picture = new Image();
    picture.onload = () => done(picture);
    picture.onerror = () => failed(new Error("the browser cannot show this image"));
    picture.src = address;
  });
}

// ---- objects ----------------------------------------------------------------------------------------------------------

function act(request) {
  const { image } = state;
  if (!image) return;
  later("Segmenting …", async () => {
    const answer = await ask(`api/images/${image.id}/actions`, JSON.stringify(request));
    if (image !== state.image) return;
    state.objects = answer.objects;
    state.current = answer.current;
    if (["prompt", "text"].includes(request.action)) say(`Answered in ${duration(answer.seconds)}.`);
    else say(state.objects.length ? "" : "No objects.");
    refresh();
    if (request.action !== "remove") showCurrent();
  });
}

/** Scrolls the list, and nothing else, to the object that the next prompt belongs to. */
function showCurrent() {
  const list = $("objects"), { offsetTop: top, offsetHeight: height } = list.children[state.current];
  list.scrollTop = Math.min(top, Math.max(list.scrollTop, top + height - list.clientHeight));
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function swatch(color) {
  const made = element("span", { className: "swatch" });
  made.style.backgroundColor = `rgb(${color.join(",")})`;
  return made;
}

function listObjects() {
  $("objects").replaceChildren(...state.objects.map((object, place) => {
    const name = object.text || `object ${place + 1}`;
    const item = element("li", { className: place === state.current ? "current" : "" },
      swatch(object.color),
      element("button", { className: "name", textContent: name, title: "Correct this object", onclick: () => act({ action: "select", object: place }) }),
      element("span", { className: "figure", textContent: object.score.toFixed(2), title: "Confidence" }),
      element("a", { className: "button small", textContent: "PNG", download: "", href: `api/images/${state.image.id}/mask.png?object=${place}`, title: `Mask of ${name}` }),
      element("button", { className: "small", textContent: "×", title: `Remove ${name}`, onclick: () => act({ action: "remove", object: place }) }));
    return item;
  }));
  if (state.image && state.current === state.objects.length) {
    $("objects").append(element("li", { className: "current next", textContent: state.objects.length ? "next prompt: new object" : "nothing yet" }));
  }
  $("reset").disabled = !state.objects.length;
}

// ---- everything by category -------------------------------------------------------------------------------------------

function find() {
  const { image } = state;
  const categories = $("categories").value.trim();
  later("Finding everything …", async () => {
    const answer = await ask(`api/images/${image.id}/everything`, JSON.stringify({ categories }));
    if (image !== state.image) return;
    state.segments = answer.segments;
    state.shown = new Set(answer.segments.map((s) => s.name));
    const kinds = $("categories").hidden ? "" : ` of ${state.shown.size} categories`;
    say(`${answer.segments.length} segments${kinds} in ${duration(answer.seconds)}.`);
    refresh();
  });
}

function listCategories() {
  const groups = new Map();
  for (const segment of state.segments) groups.set(segment.name, [...(groups.get(segment.name) || []), segment]);
  $("all").disabled = $("none").disabled = !groups.size;
  $("picks").replaceChildren(...[...groups].map(([name, members]) => {
    const box = element("input", { type: "checkbox", checked: state.shown.has(name) });
    box.onchange = () => { state.shown[box.checked ? "add" : "delete"](name); paint(); };
    return element("li", {}, element("label", {}, box, swatch(members[0].color), element("span", { className: "name", textContent: name })),
      element("span", { className: "figure", textContent: members.length > 1 ? `× ${members.length}` : "" }));
  }));
}

function shade([r, g, b], number) {
  const amount = [0, 0.3, -0.25, 0.15, -0.12][number % 5];
  return [r, g, b].map((v) => Math.round(v + ((amount > 0 ? 255 : 0) - v) * Math.abs(amount)));
}

// ---- showing ------------------------------------------------------------------------------------------------------------

function paint() {
  if (!state.image) return;
  const count = new Map();
  const layers = state.segments.filter((s) => state.shown.has(s.name)).map((segment) => {
    const number = count.get(segment.name) || 0;
    count.set(segment.name, number + 1);
    return { mask: segment.mask, color: segment.isthing ? shade(segment.color, number) : segment.color };
  });
  const objects = state.objects.map((o, place) => ({ mask: o.mask, color: o.color, strong: place === state.current }));
  const current = objects.splice(state.current, 1);
  view.overlay.paint([...layers, ...objects, ...current]);
  view.prompts = state.objects[state.current]?.prompts || [];
  view.draw();
}

function refresh() {
  listObjects();
  listCategories();
  const here = `api/images/${state.image.id}`;
  $("masks").href = `${here}/mask.png`;
  $("json").href = `${here}/result.json`;
  paint();
  document.body.dataset.objects = state.objects.length;
}

// ---- controls -----------------------------------------------------------------------------------------------------------

function press(group, name, value) {
  document.querySelectorAll(`#${group} button`).forEach((b) => b.setAttribute("aria-pressed", String(b.dataset[name] === value)));
}

function useTool(tool) {
  view.cancel();
  view.tool = tool;
  press("tools", "tool", tool);
  $("width-label").hidden = tool !== "scribble";
}

function useSign(positive) {
  view.positive = positive;
  press("signs", "sign", positive ? "+" : "-");
}

function shortcut(event) {
  if (event.target.matches("input") || event.metaKey || event.altKey) return;
  if (event.key === "z" || (event.ctrlKey && event.key.toLowerCase() === "z")) { event.preventDefault(); act({ action: "undo" }); return; }
  if (event.ctrlKey) return;
  const tools = { p: "point", b: "box", s: "scribble", g: "polygon", c: "circle" };
  if (tools[event.key] && view.enabled) useTool(tools[event.key]);
  else if (event.key === "x") useSign(!view.positive);
  else if (event.key === "n") act({ action: "new" });
  else if (event.key === "f") view.fit();
  else if (event.key === "Enter") view.close();
  else if (event.key === "Escape") view.cancel();
  else if (event.key === " " && event.target === view.canvas) { event.preventDefault(); view.space = true; }
}

function bind() {
  $("file").onchange = () => { open($("file").files[0]); $("file").value = ""; };
  const stage = $("stage");
  stage.ondragover = (event) => { event.preventDefault(); stage.classList.add("over"); };
  stage.ondragleave = () => stage.classList.remove("over");
  stage.ondrop = (event) => { event.preventDefault(); stage.classList.remove("over"); open(event.dataTransfer.files[0]); };
  document.onpaste = (event) => open([...event.clipboardData.files].find((f) => f.type.startsWith("image/")));
  document.onkeydown = shortcut;
  document.onkeyup = (event) => { if (event.key === " ") view.space = false; };
  document.querySelectorAll("#tools button").forEach((b) => { b.onclick = () => useTool(b.dataset.tool); });
  document.querySelectorAll("#signs button").forEach((b) => { b.onclick = () => useSign(b.dataset.sign === "+"); });
  $("width").onchange = () => { view.width = Math.min(500, Math.max(1, Number($("width").value) || 5)); $("width").value = view.width; };
  for (const action of ["new", "undo", "reset"]) $(action).onclick = () => act({ action });
  $("phrase").onsubmit = (event) => { event.preventDefault(); act({ action: "text", text: $("text").value }); };
  $("find").onclick = find;
  $("categories").onkeydown = (event) => { if (event.key === "Enter") find(); };
  $("all").onclick = () => { state.shown = new Set(state.segments.map((s) => s.name)); listCategories(); paint(); };
  $("none").onclick = () => { state.shown = new Set(); listCategories(); paint(); };
  addEventListener("pagehide", (event) => {
    if (state.image && !event.persisted) {
      fetch(`api/images/${state.image.id}/close`, { method: "POST", body: "{}", keepalive: true }).catch(() => {});
    }
  });
}

async function start() {
  bind();
  state.model = await ask("api/model");
  const { model, weights, prompts, finds, categories } = state.model;
  $("model").textContent = `${model} · ${weights}`;
  $("strokes").hidden = !prompts.includes("stroke");
  $("phrase").hidden = !prompts.includes("text");
  $("objects-box").hidden = $("downloads").hidden = !prompts.length && !finds;
  $("objects-box").hidden = $("masks").hidden = !prompts.length;
  $("everything").hidden = !finds;
  const names = categories.map((c) => c.name);
  const named = finds?.by_category;
  $("categories").hidden = !named;
  if (finds && !named) $("everything-title").textContent = finds.name[0].toUpperCase() + finds.name.slice(1);
  $("categories").placeholder = prompts.length ? `all ${names.length}: ${names.slice(0, 3).join(", ")} …` : names.slice(0, 4).join(", ");
  $("categories").disabled = !prompts.length;
  $("known").replaceChildren(...names.map((value) => element("option", { value })));
  document.body.dataset.ready = "true";
}

later("Starting …", start);
// For tests and the curious: whether the mask of an object covers a pixel of the image.
window.segfoundry = { covers: (place, column, row) => covers(state.objects[place].mask, column, row), view };
