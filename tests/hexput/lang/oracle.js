// The oracle of test_oracle.py: what programs mean, said by JavaScript's own arithmetic, strings and closures.
//
// Reads one JSON object a line, {"js": BODY, "sandbox": {…}}: the body of a function whose parameters are the names in
// the sandbox. Writes one line for each: {"value": …}, or {"error": …} where the language's page asks for an error, or {"skip": true} where the
// values grew too long to be worth comparing.
// The helpers below add only what that page says differently: strict types, no NaN and no Infinity, code points.
"use strict";

class Refused extends Error {}
const refuse = (why) => {
  throw new Refused(why);
};
class TooLong extends Error {}

const kind = (v) => (v === null ? "null" : Array.isArray(v) ? "array" : typeof v);
const want = (type, v) => (kind(v) === type ? v : refuse(`${type} wanted, got ${kind(v)}`));
const num = (v) => want("number", v);
const str = (v) => want("string", v);
const finite = (x) => (Number.isFinite(x) ? x : refuse("overflow"));
const text = (v) => (["string", "number", "boolean", "null"].includes(kind(v)) ? String(v) : refuse("no text"));
const points = (s) => Array.from(s);
const index = (v) => (Number.isInteger(num(v)) && v >= 0 ? v : refuse("bad index"));
const short = (v) => {
  if (v.length > 1 << 16) throw new TooLong();
  return v;
};
const json = (v) => {
  try {
    return short(JSON.stringify(v));
  } catch (error) {
    throw error instanceof TypeError ? new Refused("it contains itself") : error;
  }
};

const order = (a, b) => {
  if (kind(a) === "number" && kind(b) === "number") return a < b ? -1 : a > b ? 1 : 0;
  const [x, y] = [points(str(a)), points(str(b))].map((p) => p.map((c) => c.codePointAt(0)));
  for (let i = 0; i < x.length && i < y.length; i++) if (x[i] !== y[i]) return x[i] - y[i];
  return x.length - y.length;
};

const slice = (make) => (v, a, b) => {
  const all = Array.from(v);
  return make(all.slice(index(a), b === undefined ? undefined : index(b)));
};
const joined = (list) => list.join("");

const ordered = (a) => {
  const kinds = new Set(a.map(kind));
  if (kinds.size > 1 || (a.length && !kinds.has("number") && !kinds.has("string"))) refuse("no order");
  return a;
};

const H = {
  truth: (v) => (Array.isArray(v) ? v.length > 0 : kind(v) === "object" ? Object.keys(v).length > 0 : Boolean(v)),
  add: (a, b) => {
    if (kind(a) === "string" || kind(b) === "string") return short(text(a) + text(b));
    return finite(num(a) + num(b));
  },
  sub: (a, b) => finite(num(a) - num(b)),
  mul: (a, b) => finite(num(a) * num(b)),
  div: (a, b) => (num(a), num(b) === 0 ? refuse("division by zero") : finite(a / b)),
  mod: (a, b) => (num(a), num(b) === 0 ? refuse("division by zero") : a % b),
  neg: (a) => -num(a),
  not: (a) => !H.truth(a),
  and: (a, b) => (H.truth(a) ? b() : a),
  or: (a, b) => (H.truth(a) ? a : b()),
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lt: (a, b) => order(a, b) < 0,
  gt: (a, b) => order(a, b) > 0,
  le: (a, b) => order(a, b) <= 0,
  ge: (a, b) => order(a, b) >= 0,
  at: (v, i) => {
    const found = kind(v) === "string" ? points(v)[index(i)] : want("array", v)[index(i)];
    return found === undefined ? null : found;
  },
  walk: (v) => (kind(v) === "string" ? points(v) : want("array", v).slice()),
  call: (v, name, ...given) => {
    const methods = METHODS[kind(v)] ?? {};
    const method = Object.hasOwn(methods, name) && methods[name];
    return method ? method(v, ...given) : refuse(`no method ${name}`);
  },
};

const METHODS = {
  string: {
    length: (s) => points(s).length,
    len: (s) => points(s).length,
    isEmpty: (s) => s === "",
    substring: slice(joined),
    slice: slice(joined),
    toLowerCase: (s) => s.toLowerCase(),
    toUpperCase: (s) => s.toUpperCase(),
    trim: (s) => s.trim(),
    includes: (s, t) => s.includes(str(t)),
    contains: (s, t) => s.includes(str(t)),
    startsWith: (s, t) => s.startsWith(str(t)),
    endsWith: (s, t) => s.endsWith(str(t)),
    indexOf: (s, t) => {
      const at = s.indexOf(str(t));
      return at < 0 ? at : points(s.slice(0, at)).length;
    },
    split: (s, t) => (str(t) === "" ? points(s) : s.split(t)),
    replace: (s, t, u) =>
      str(t) === "" ? (str(u), u + points(s).map((c) => c + u).join("")) : (str(u), s.replaceAll(t, () => u)),
    toString: (s) => s,
    toNumber: (s) => {
      const written = s.trim();
      const number = /^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$/.test(written) ? Number(written) : Infinity;
      return Number.isFinite(number) ? number : null;
    },
  },
  array: {
    length: (a) => a.length,
    len: (a) => a.length,
    isEmpty: (a) => a.length === 0,
    join: (a, t) => (str(t), short(a.map((v) => (typeof v === "object" && v ? json(v) : String(v))).join(t))),
    first: (a) => (a.length ? a[0] : null),
    last: (a) => (a.length ? a[a.length - 1] : null),
    includes: (a, v) => a.includes(v),
    indexOf: (a, v) => a.indexOf(v),
    slice: slice((list) => list),
    map: (a, f) => a.slice().map((v, i) => f(v, i)),
    filter: (a, f) => a.slice().filter((v, i) => H.truth(f(v, i))),
    forEach: (a, f) => (a.slice().forEach((v, i) => f(v, i)), null),
    find: (a, f) => a.slice().find((v, i) => H.truth(f(v, i))) ?? null,
    findIndex: (a, f) => a.slice().findIndex((v, i) => H.truth(f(v, i))),
    some: (a, f) => a.slice().some((v, i) => H.truth(f(v, i))),
    every: (a, f) => a.slice().every((v, i) => H.truth(f(v, i))),
    reduce: (a, f, start) => a.slice().reduce((x, v, i) => f(x, v, i), start),
    push: (a, v) => a.push(v),
    pop: (a) => (a.length ? a.pop() : null),
    reverse: (a) => a.reverse(),
    concat: (a, b) => short(a.concat(want("array", b))),
    sort: (a) => ordered(a).sort(order),
    min: (a) => ordered(a).reduce((x, v) => (order(v, x) < 0 ? v : x), a[0]) ?? null,
    max: (a) => ordered(a).reduce((x, v) => (order(v, x) > 0 ? v : x), a[0]) ?? null,
  },
  number: {
    toString: (x) => String(x),
    toFixed: (x, d) => (index(d) <= 100 ? x.toFixed(d) : refuse("digits")),
    round: (x, d = 0) => (index(d) > 100 ? refuse("digits") : Math.abs(x) < 1e21 ? Number(x.toFixed(d)) : x),
    floor: (x) => Math.floor(x),
    ceil: (x) => Math.ceil(x),
    isInteger: (x) => Number.isInteger(x),
    abs: (x) => Math.abs(x),
  },
  boolean: { toString: (b) => String(b) },
  null: { toString: () => "null" },
};

const answer = ({ js, sandbox }) => {
  try {
    return `{"value":${json(new Function("H", ...Object.keys(sandbox), js)(H, ...Object.values(sandbox)))}}`;
  } catch (error) {
    if (error instanceof Refused) return json({ error: error.message });
    if (error instanceof TooLong) return json({ skip: true });
    return json({ bug: String(error) }); // a fault of the generator or of this file
  }
};

require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => process.stdout.write(answer(JSON.parse(line)) + "\n"));
