// The rule from Node.js 22 or newer, over WebSocket, without a package. Start a server first: jefe serve hexput
//
//     node with_node.mjs [URL]        the URL is ws://127.0.0.1:9001 unless given

import { readFileSync } from "node:fs";

const read = (name) => readFileSync(new URL(name, import.meta.url), "utf8");
const url = process.argv[2] ?? "ws://127.0.0.1:9001";

function fail(sentence) {
  console.error(sentence);
  process.exit(1);
}

if (typeof WebSocket === "undefined") fail(`this program needs Node.js 22 or newer, or 20 with --experimental-websocket; this is ${process.version}`);

// Maps, because the rule's author chooses the names: every plain object has a `constructor`.
const prices = new Map(Object.entries(JSON.parse(read("prices.json"))));
const functions = new Map([
  ["priceOf", (fruit) => {
    if (!prices.has(fruit)) throw new Error(`no price for ${fruit}`);
    return prices.get(fruit);
  }],
]);

const socket = new WebSocket(url);
const send = (message) => socket.send(JSON.stringify(message));
let isAnswered = false;

async function serve({ id, function_name, arguments: given }) {
  try {
    send({ id, result: (await functions.get(function_name)(...given)) ?? null });
  } catch (error) {
    send({ id, result: null, error: String(error?.message ?? error) });
  }
}

socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.type === "connection") {
    send({ id: "rule", action: "execute", code: read("discount.hx"), context: JSON.parse(read("basket.json")) });
  } else if (message.action === "is_function_exists") {
    send({ id: message.id, exists: functions.has(message.function_name) });
  } else if (message.function_name) {
    serve(message);
  } else if (message.id === "rule") {
    isAnswered = true;
    socket.close();
    if (!message.success) fail(`the rule failed: ${message.error}`);
    console.log(JSON.stringify(message.result));
  }
};
socket.onclose = socket.onerror = () => {
  if (!isAnswered) fail(`${url}: the connection failed or was closed; is a server there?`);
};
