// The JavaScript client of the Hexput runtime document, and its examples, as printed there, but for what the
// document leaves out ("remains the same") and for `fetch`, which is answered here. Usage: node FILE URL
// Prints one line of JSON: what the examples gave.

const WebSocket = require("ws");
const url = process.argv[2];
const log = console.log;
console.log = console.warn = () => {};
const fetch = async (address) => ({ ok: true, json: async () => ({ id: Number(address.split("/").pop()), name: "Ada" }) });

class HexputClient {
  constructor(address) {
    this.callHandlers = {};
    this.responseHandlers = {};
    this.secrets = [];
    this.nextId = 1;
    this.ws = new WebSocket(address);
    this.opened = new Promise((resolve) => { this.ws.onopen = resolve; });
    this.ws.onmessage = (event) => this.handleMessage(event.data);
  }

  registerFunction(name, handler) { this.callHandlers[name] = handler; }

  execute(code, more = {}) {
    return new Promise((resolve, reject) => {
      const id = `req-${this.nextId++}`;
      this.responseHandlers[id] = (message) => message.success ? resolve(message.result) : reject(new Error(message.error));
      this.ws.send(JSON.stringify({ id, action: "execute", code, options: {}, ...more }));
    });
  }

  handleMessage(data) {
    const message = JSON.parse(data);

    // Handle function existence check from server
    if (message.action === "is_function_exists") {
      const functionName = message.function_name;
      const exists = typeof this.callHandlers[functionName] === "function";
      console.log(`Runtime checking existence of '${functionName}': ${exists}`);

      this.ws.send(JSON.stringify({
        id: message.id, // Use the ID from the server's request
        exists: exists
      }));
      return;
    }

    // Handle function call request from server
    if (message.function_name && message.arguments) {
      const functionName = message.function_name;
      const handler = this.callHandlers[functionName];
      console.log(`Runtime calling function '${functionName}' with args:`, message.arguments);
      if (message.secret_context) this.secrets.push(message.secret_context);

      if (handler) {
        try {
          // Handle both sync and async handlers
          Promise.resolve(handler(...message.arguments))
            .then(result => {
              this.ws.send(JSON.stringify({
                id: message.id, // Use the ID from the server's request
                result: result === undefined ? null : result // Ensure result is not undefined
              }));
            })
            .catch(error => {
              this.ws.send(JSON.stringify({
                id: message.id,
                result: null,
                error: error instanceof Error ? error.message : String(error)
              }));
            });
        } catch (error) { // Catch synchronous errors
          this.ws.send(JSON.stringify({
            id: message.id,
            result: null,
            error: error instanceof Error ? error.message : String(error)
          }));
        }
      } else {
        // Should ideally not happen if existence check works, but handle defensively
        this.ws.send(JSON.stringify({
          id: message.id,
          result: null,
          error: `Function '${functionName}' not found on client.`
        }));
      }
      return;
    }

    // Handle response to our own requests (e.g., execute)
    if (message.id && this.responseHandlers[message.id]) {
      this.responseHandlers[message.id](message);
      delete this.responseHandlers[message.id];
      return;
    }

    // Handle connection status messages or other types
    if (message.type === 'connection' && message.status === 'connected') {
      this.welcomed = true;
      return;
    }

    console.warn("Received unhandled message:", message);
  }
}

function simple() {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(url);
    let answer;

    ws.onopen = () => {
      console.log("WebSocket connected");
      ws.send(JSON.stringify({
        id: "req-1",
        action: "execute",
        code: "let result = 5 + 10; return result;",
        options: {} // Default options (all features enabled)
      }));
    };

    ws.onmessage = (event) => {
      const response = JSON.parse(event.data);
      // Ignore connection message
      if (response.type === 'connection') return;

      answer = response;
      ws.close();
    };

    ws.onerror = reject;
    ws.onclose = (event) => resolve([answer, event.code]);
  });
}

async function main() {
  const client = new HexputClient(url);

  client.registerFunction("calculateTotal", (base, tax) => {
    if (typeof base !== 'number' || typeof tax !== 'number') {
      throw new Error("Invalid arguments for calculateTotal");
    }
    return base + (base * tax);
  });

  client.registerFunction("fetchUserData", async (userId) => {
    // The client waits for this Promise to resolve
    const response = await fetch(`https://jsonplaceholder.typicode.com/users/${userId}`);
    if (!response.ok) {
      throw new Error(`Failed to fetch user data: ${response.statusText}`);
    }
    const data = await response.json();
    return data; // This data will be sent back to the runtime
  });

  client.registerFunction("rejected", async () => { throw new Error("not today"); });
  client.registerFunction("nested", (n) => client.execute("return n + 1;", { context: { n } }));

  const failure = (promise) => promise.then((value) => ["no failure", value], (error) => error.message);
  await client.opened;
  const results = {
    simple: await simple(),
    total: await client.execute(`
      let price = 100;
      let taxRate = 0.07;
      // This will trigger the remote function call protocol
      let total = calculateTotal(price, taxRate);
      return total;
    `),
    user: await client.execute("let userData = fetchUserData(1); return userData.name;"),
    secret: await client.execute("return calculateTotal(1, 1);", { secret_context: { apiKey: "sensitive-key-123" } }),
    secrets: client.secrets,
    invalid: await failure(client.execute("return calculateTotal('1');")),
    rejected: await failure(client.execute("return rejected();")),
    unknown: await failure(client.execute("return unknown();")),
    nested: await client.execute("return nested(nested(1));"),
    many: await Promise.all([...Array(100).keys()].map((n) => client.execute("return calculateTotal(n, 1);", { context: { n } }))),
    welcomed: client.welcomed,
  };
  client.ws.close();
  log(JSON.stringify(results));
}

main().catch((error) => { console.error(error); process.exit(1); });
