// The demo's page: opens the same WebSocket through both listeners, and shows the records
// that come on the feed. Whatever somebody else wrote is shown by textContent only.

const viewer = Array.from(crypto.getRandomValues(new Uint8Array(8)), byte =>
  byte.toString(16).padStart(2, "0")).join("");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const ARROWS = { "to-backend": "→", "to-client": "←" };
const WAYS = { "to-backend": "to the backend", "to-client": "to you" };
const SHOWN = 40; // items of a list

const byId = id => document.getElementById(id);

function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = className;
  return element;
}

function plural(count, one) {
  return `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;
}

function codeWords(code) {
  if (code === null || code === 1006) return "no code at all";
  return code === 1005 ? "no code (1005)" : String(code);
}

// One layer: its card, its WebSocket, and the id of what the relay calls it.
class Layer {
  constructor(number) {
    this.number = number;
    this.card = document.querySelector(`[data-layer="${number}"]`);
    this.fields = {};
    this.first = {};
    for (const field of this.card.querySelectorAll("[data-field]")) {
      this.fields[field.dataset.field] = field;
      this.first[field.dataset.field] = field.textContent;
    }
    this.browser = byId(`browser-${number}`);
    this.awaited = 0;
    this.id = null;
    this.socket = null;
  }

  get isOpen() {
    return this.socket !== null && this.socket.readyState === WebSocket.OPEN;
  }

  connect(url) {
    this.leave();
    this.id = null;
    this.counts = {};
    this.awaited += 1; // each connection is told of exactly once, in order
    for (const name in this.fields) this.show(name, this.first[name]);
    this.fields.list.append(make("li", "nothing yet", "none"));
    const socket = this.socket = new WebSocket(url);
    const current = work => event => { if (this.socket === socket) { work(event); enable(); } };
    socket.binaryType = "arraybuffer";
    this.browser.textContent = "connecting";
    socket.onopen = current(() => { this.browser.textContent = "open"; });
    socket.onmessage = current(event => this.received(event.data));
    socket.onclose = current(event => {
      this.browser.textContent = `closed, code ${event.code}`;
    });
  }

  leave() {
    if (this.socket !== null) this.socket.close();
    this.socket = null;
  }

  received(data) {
    const what = typeof data === "string" ? `“${data}”` : plural(data.byteLength, "byte");
    this.browser.textContent = `open, received ${what}`;
  }

  show(name, text) {
    this.fields[name].textContent = text;
  }

  // -- what the relay tells

  told(record) {
    if (record.what === "opened" && record.layer === this.number && this.awaited > 0) {
      this.awaited -= 1;
      this.id = record.id;
    }
    if (record.id === this.id) this[record.what](record);
  }

  opened(record) {
    this.show("client", record.client);
    this.show("local", record.local);
    this.show("route", record.route);
    if (this.number === 4) return;
    const path = record.request.split(/[ ?]/)[1];
    this.show("request", record.request);
    this.show("because", `The path is ${path}; one listener can have any number of routes.`);
    this.show("pool", `From the pool ${record.pool}.`);
    this.show("headerCount", record.headers.length);
    this.fields.headers.replaceChildren(...record.headers.map(([name, value]) => {
      const item = make("li");
      item.append(make("b", `${name}: `), value);
      return item;
    }));
    const said = Object.fromEntries(record.headers.map(([name, value]) => [name.toLowerCase(), value]));
    this.show("who", `A page of ${said.origin ?? "nowhere"}, viewer ${viewer}`);
  }

  connected(record) {
    this.show("backend", record.backend);
    this.show("peer", record.peer);
  }

  chunk(record) {
    const item = make("li");
    item.append(make("i", ARROWS[record.direction]), ` ${record.size} B`);
    item.title = `${plural(record.size, "byte")} ${WAYS[record.direction]}`;
    item.style.setProperty("--wide", Math.min(8, Math.log2(record.size + 1) / 2).toFixed(2));
    this.passed(record, item);
  }

  message(record) {
    const item = make("li");
    const arrow = make("i", ARROWS[record.direction]);
    arrow.title = WAYS[record.direction];
    const kind = record.isText ? "text" : "binary";
    item.append(arrow, make("q", record.glance, kind),
      make("small", `${kind}, ${plural(record.size, "byte")}`));
    this.passed(record, item);
  }

  passed(record, item) {
    const list = this.fields.list;
    list.querySelector(".none")?.remove();
    list.append(item);
    while (list.children.length > SHOWN) list.firstElementChild.remove();
    list.scrollTop = list.scrollHeight;
    this.counts[record.direction] = record.chunks ?? record.messages;
    this.show("count", Object.values(this.counts).reduce((sum, count) => sum + count));
    this.show(record.direction, record.bytes.toLocaleString("en"));
    this.pulse(record.direction);
  }

  closed(record) {
    for (const way in ARROWS) this.show(way, record.bytes[way].toLocaleString("en"));
    if (this.number === 4) {
      this.show("end", `The ${record.party} ${record.detail}.`);
      return;
    }
    if (record.status !== 101) {
      this.show("end", `Answered ${record.status}: ${record.detail}`);
      return;
    }
    const { client, backend } = record.codes;
    this.show("end", client === backend
      ? `Close code ${codeWords(client)}, at both ends.`
      : `Close code ${codeWords(client)} at the client, ${codeWords(backend)} at the backend.`);
    this.show("codes", `The ${record.party} began.`);
  }

  pulse(direction) {
    if (calm.matches) return;
    const back = direction === "to-client";
    for (const wire of this.card.querySelectorAll(".wire")) {
      if (wire.childElementCount > 6) continue;
      const dot = make("i");
      wire.append(dot);
      const edge = wire.clientHeight > wire.clientWidth ? "top" : "left";
      const way = [{ [edge]: "0%" }, { [edge]: "100%" }];
      dot.animate(back ? way.reverse() : way, { duration: 500, easing: "ease-in-out" })
        .finished.then(() => dot.remove());
    }
  }
}

const layers = [new Layer(4), new Layer(7)];
let l4Port = null;
let tunnels = new Set();

function connect() {
  const path = document.querySelector("[name=path]:checked").value;
  for (const layer of layers) {
    const host = layer.number === 4 ? `${location.hostname}:${l4Port}` : location.host;
    layer.connect(`ws://${host}/${path}?viewer=${viewer}`);
  }
  enable();
}

function send(data) {
  for (const layer of layers) if (layer.isOpen) layer.socket.send(data);
}

function close() {
  const code = byId("code").value;
  for (const layer of layers) {
    if (code === "") layer.socket.close();
    else layer.socket.close(Number(code));
  }
}

function enable() {
  const isOpen = layers.some(layer => layer.isOpen);
  const isClosed = layers.every(layer => layer.socket?.readyState === WebSocket.CLOSED);
  for (const button of document.querySelectorAll("[data-needs=open]")) button.disabled = !isOpen;
  byId("toggle").textContent = isClosed ? "Connect" : "Close";
  byId("toggle").disabled = l4Port === null || !(isOpen || isClosed);
}

// ---- the feed

function told(record) {
  if (record.what === "ready") {
    l4Port = record.l4Port;
    tunnels = new Set(record.tunnels);
    connect();
    return;
  }
  if (record.layer === 4 && record.what === "opened") tunnels.add(record.id);
  if (record.what === "closed") tunnels.delete(record.id);
  for (const layer of layers) layer.told(record);
  const others = tunnels.size - (tunnels.has(layers[0].id) ? 1 : 0);
  layers[0].show("who", others === 0
    ? "An address and a port."
    : `An address and a port. ${plural(others, "more connection")} of nobody knows whom.`);
}

function alarm(text) {
  byId("alarm").textContent = text;
  byId("alarm").hidden = false;
}

const feed = new WebSocket(`ws://${location.host}/feed?viewer=${viewer}`);
feed.onmessage = event => JSON.parse(event.data).forEach(told);
feed.onclose = () => {
  l4Port = null;
  enable();
  alarm("The relay has gone. Start it again, then load this page again.");
};

// ---- what the viewer does

byId("say").addEventListener("submit", event => {
  event.preventDefault();
  send(byId("text").value);
  byId("text").select();
});
byId("binary").addEventListener("click", () => send(crypto.getRandomValues(new Uint8Array(16))));
byId("end").addEventListener("submit", event => {
  event.preventDefault();
  if (layers.some(layer => layer.isOpen)) close();
  else connect();
});
for (const choice of document.querySelectorAll("[name=path]")) choice.addEventListener("change", connect);
enable();
