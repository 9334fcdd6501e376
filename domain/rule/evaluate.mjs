// Evaluates the rules of forms where there is no CEL: the trees that package rule makes of expressions. Values are what JSON has: numbers,
// booleans, texts and lists of texts, by group and name, such as {answers: {worst: 8}}. An answer that is left out, undefined or null has
// no value. A differential test holds this module against CEL: change both or neither.

const INT = [-(2n ** 63n), 2n ** 63n - 1n];
const UNSIGNED = [0n, 2n ** 64n - 1n];

// Whole numbers are BigInt, decimals are Number; an Unsigned is a number that was written as 3u.
class Unsigned {
  constructor(n) {
    this.n = n;
  }
}

// Missing says that the result depends on an answer that there is not, and Failed that it cannot be computed.
class Missing extends Error {}
class Failed extends Error {}

function fail(why) {
  throw new Failed(why);
}

/** The result of a tree: {value}, {missing: true}, or {failed: "why"}. A whole number is a BigInt. */
export function evaluate(tree, values) {
  try {
    return { value: compute(tree, values) };
  } catch (e) {
    if (e instanceof Missing) return { missing: true };
    if (e instanceof Failed) return { failed: e.message };
    throw e;
  }
}

/** Whether a rule holds. One that cannot be computed holds for nobody: undefined. */
export function holds(tree, values) {
  const result = evaluate(tree, values);
  return result.failed === undefined ? result.value === true : undefined;
}

/** The ids of the items that are asked for these answers. An item whose rule cannot be computed may be answered or left out. */
export function asked(items, answers) {
  return items.filter((item) => !item.asked || holds(item.asked, { answers }) !== false).map((item) => item.id);
}

function compute(t, values) {
  const arg = (n) => compute(t.args[n], values);
  switch (t.op) {
    case "boolean": case "decimal": case "text":
      return t.value;
    case "integer":
      return BigInt(t.value);
    case "unsigned":
      return new Unsigned(BigInt(t.value));
    case "null":
      return null;
    case "list":
      return (t.args ?? []).map((a) => compute(a, values));
    case "answer":
      return read(t, values);
    case "has":
      return isThere(t, values);
    case "if":
      return truth(arg(0)) ? arg(1) : arg(2);
    case "&&":
      return logic(t, values, false);
    case "||":
      return logic(t, values, true);
    case "in":
      return isIn(t, arg);
  }
  const [x, y] = t.args.map((a) => compute(a, values));
  switch (t.op) {
    case "!":
      return !truth(x);
    case "==":
      return equal(x, y);
    case "!=":
      return !equal(x, y);
    case "<":
      return compare(x, y) < 0;
    case "<=":
      return compare(x, y) <= 0;
    case ">":
      return compare(x, y) > 0;
    case ">=":
      return compare(x, y) >= 0;
    case "negate":
      if (typeof x === "number") return -x;
      return typeof x === "bigint" ? within(INT, -x) : fail("only numbers can be negated");
    case "+": case "-": case "*": case "/": case "%":
      return arithmetic(t.op, x, y);
    case "index":
      return element(x, y);
    case "size":
      if (typeof x === "string") return BigInt([...x].length);
      return Array.isArray(x) ? BigInt(x.length) : fail("it has no size");
    case "contains":
      return text(x).includes(text(y));
    case "startsWith":
      return text(x).startsWith(text(y));
    case "endsWith":
      return text(x).endsWith(text(y));
    case "toInteger":
      return toInteger(x);
    case "toDecimal":
      return toDecimal(x);
  }
  return fail(`there is no operation ${t.op}`);
}

function isThere(t, values) {
  const of = values[t.group];
  return of != null && Object.hasOwn(of, t.name) && of[t.name] != null;
}

function read(t, values) {
  if (!isThere(t, values)) throw new Missing();
  const v = values[t.group][t.name];
  switch (t.type) {
    case "integer":
      return Number.isInteger(v) && Math.abs(v) <= 2 ** 53 ? BigInt(v) : fail(`${t.name} is no whole number`);
    case "decimal":
      return typeof v === "number" ? v : fail(`${t.name} is no number`);
    case "boolean":
      return truth(v);
    case "text":
      return text(v);
    case "texts":
      return Array.isArray(v) ? v.map(text) : fail(`${t.name} is no list`);
  }
  return fail(`there is no type ${t.type}`);
}

// One side can decide, even if the other has no result: then the first that has none says why.
function logic(t, values, deciding) {
  let why;
  for (const a of t.args) {
    try {
      if (truth(compute(a, values)) === deciding) return deciding;
    } catch (e) {
      why ??= e;
    }
  }
  if (why) throw why;
  return !deciding;
}

const truth = (v) => (typeof v === "boolean" ? v : fail("it is neither true nor false"));
const text = (v) => (typeof v === "string" ? v : fail("it is no text"));
const within = ([least, most], n) => (n >= least && n <= most ? n : fail("the number is too large"));
const isNumber = (v) => typeof v === "number" || typeof v === "bigint" || v instanceof Unsigned;
const whole = (v) => (v instanceof Unsigned ? v.n : v);

// Decimals and whole numbers are compared as decimals, which hold large whole numbers only nearly.
function order(x, y) {
  if (typeof x === "number" || typeof y === "number") {
    if (typeof x === "number" && typeof y === "number") return x < y ? -1 : x > y ? 1 : 0;
    if (typeof y !== "number") return -order(y, x);
    const [least, most] = x instanceof Unsigned ? [0, 2 ** 64] : [-(2 ** 63), 2 ** 63];
    return y < least ? 1 : y > most ? -1 : order(Number(whole(x)), y);
  }
  return whole(x) < whole(y) ? -1 : whole(x) > whole(y) ? 1 : 0;
}

// What is no number (NaN) is neither less nor more than anything.
function compare(x, y) {
  if (!isNumber(x) && typeof x !== "boolean" && typeof x !== "string") fail("this cannot be compared");
  if (Number.isNaN(x) || Number.isNaN(y)) return NaN;
  if (isNumber(x) && isNumber(y)) return order(x, y);
  if (typeof x === "boolean" && typeof y === "boolean") return Number(x) - Number(y);
  if (typeof x !== "string" || typeof y !== "string") fail("these cannot be compared");
  for (let i = 0; i < x.length && i < y.length; i++) {
    if (x.charCodeAt(i) !== y.charCodeAt(i)) return place(x.charCodeAt(i)) - place(y.charCodeAt(i));
  }
  return x.length - y.length;
}

// Texts are in the order of their characters, of which the largest are written as pairs of units that are not the largest.
const place = (unit) => (unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit);

function equal(x, y) {
  if (isNumber(x) && isNumber(y)) return !Number.isNaN(x) && !Number.isNaN(y) && order(x, y) === 0;
  if (Array.isArray(x) && Array.isArray(y)) return x.length === y.length && x.every((v, i) => equal(v, y[i]));
  return x === y;
}

const constants = ["boolean", "integer", "unsigned", "decimal", "text"];

// CEL makes a set of a list of constants: an empty one is not searched, and whole numbers are found exactly.
function isIn(t, arg) {
  const constant = t.args[1].op === "list" && (t.args[1].args ?? []).every((a) => constants.includes(a.op));
  if (constant && !t.args[1].args) return false;
  const x = arg(0);
  const list = arg(1);
  if (!Array.isArray(list)) fail("it is no list");
  return list.some((e) => (constant && typeof e === "number" && isNumber(x) && typeof x !== "number" ? exactly(e, x) : equal(x, e)));
}

function exactly(decimal, x) {
  return Number.isInteger(decimal) && BigInt(decimal) === whole(x) && (x instanceof Unsigned || Math.abs(decimal) < 2 ** 63);
}

function arithmetic(op, x, y) {
  if (op === "+" && typeof x === "string" && typeof y === "string") return x + y;
  if (op === "+" && Array.isArray(x) && Array.isArray(y)) return [...x, ...y];
  if (typeof x === "number" && typeof y === "number" && op !== "%") return calculate(op, x, y);
  if (typeof x === "bigint" && typeof y === "bigint") return within(INT, calculate(op, x, y));
  if (!(x instanceof Unsigned && y instanceof Unsigned)) fail("these cannot be calculated with");
  return new Unsigned(within(UNSIGNED, calculate(op, x.n, y.n)));
}

function calculate(op, x, y) {
  if (typeof y === "bigint" && y === 0n && (op === "/" || op === "%")) fail("division by zero");
  if (typeof x === "bigint" && op === "%" && x === INT[0] && y === -1n) fail("the number is too large");
  switch (op) {
    case "+":
      return x + y;
    case "-":
      return x - y;
    case "*":
      return x * y;
    case "/":
      return x / y;
  }
  return x % y;
}

function element(list, index) {
  if (!Array.isArray(list) || !isNumber(index)) fail("it is no element of a list");
  if (typeof index === "number" && !Number.isInteger(index)) fail("it is no place in a list");
  const n = Number(whole(index));
  return n >= 0 && n < list.length ? list[n] : fail("the list has no such place");
}

function toInteger(v) {
  if (typeof v === "bigint") return v;
  if (v instanceof Unsigned) return within(INT, v.n);
  if (typeof v === "number") return Math.abs(v) < 2 ** 63 ? BigInt(Math.trunc(v)) : fail("the number is too large");
  return /^[+-]?[0-9]+$/.test(text(v)) ? within(INT, BigInt(v.replace("+", ""))) : fail("it is no whole number");
}

const toDecimal = (v) => (isNumber(v) ? Number(whole(v)) : fail("it is no number"));
