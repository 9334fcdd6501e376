// An app of a patient, and the site beside it, written against types that are generated from the description of the API alone.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./api.js";

type Schemas = components["schemas"];
type Entry = Schemas["SubmitDiary"];

const setting = (name: string): string => {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
};
const baseUrl = setting("CASEBOOK_URL");
const patient = setting("CASEBOOK_PATIENT");
const instrument = setting("CASEBOOK_INSTRUMENT");

const as = (token?: string): Client<paths> =>
  createClient<paths>({ baseUrl, headers: token === undefined ? {} : { Authorization: `Bearer ${token}` } });

// What was answered, or what the problem says.
const must = async <T>(asked: Promise<{ data?: T; error?: Schemas["Problem"]; response: Response }>): Promise<T> => {
  const { data, error, response } = await asked;
  assert.ok(data !== undefined, `${response.url} is answered ${response.status}: ${error?.code} ${error?.detail}`);
  return data;
};
const key = () => ({ header: { "Idempotency-Key": randomUUID() } });

// The site opens the account, and hands out a code that it sees once.
const crc = as(setting("CASEBOOK_CRC"));
const user = "app.typescript";
const opened = await must(crc.POST("/api/v1/commands/OpenPatientAccount", { params: key(), body: { user, patient } }));
const code = opened.revealed?.code;
assert.ok(code && opened.revealed?.url.includes(code), "the site is shown no code");

// The patient activates it on a device, which makes itself a key.
const device = randomUUID();
const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
const publicKey = Buffer.from(await crypto.subtle.exportKey("spki", pair.publicKey)).toString("base64");
const wrong = await as().POST("/api/v1/activate", { body: { user, code: "0000-0000-0000-0000", password: "velvet anchor copper mist", device: { id: device } } });
assert.equal(wrong.response.status, 401);
assert.equal(wrong.error?.code, "activation_failed");
const activated = await must(as().POST("/api/v1/activate", { body: { user, code, password: "velvet anchor copper mist", device: { id: device, name: "A telephone", key: publicKey } } }));
assert.equal(activated.user, user);
assert.ok(activated.refreshToken, "the device gets no refresh token");

// The session goes on, and says whose it is.
const session = await must(as().POST("/api/v1/sign-in/refresh", { body: { refreshToken: activated.refreshToken } }));
assert.ok(Date.parse(session.expiresAt) > Date.now());
const app = as(session.token);
const me = await must(app.GET("/api/v1/me"));
assert.equal(me.user, user);

// What is asked, and what to render.
const schedule = async (): Promise<Schemas["ScheduledDiary"]> => {
  const shown = await must(app.GET("/api/v1/me/schedule"));
  const found = shown.instruments.find((of) => of.instrument === instrument);
  assert.ok(found, `the schedule has no ${instrument}`);
  return found;
};
const standing = async (window: string): Promise<Schemas["ScheduledWindow"]["status"] | undefined> =>
  (await schedule()).windows.find((of) => of.window === window)?.status;
const asked = await must(app.GET("/api/v1/me/instruments/{instrument}", { params: { path: { instrument } } }));
// What is there in several languages is shown in that of the patient, or in one that is asked for; images come apart.
const inOwn = await must(app.GET("/api/v1/me/instruments/{instrument}", { params: { path: { instrument: setting("CASEBOOK_TRANSLATED") } } }));
assert.deepEqual(inOwn.languages, ["en", "de"]);
assert.equal(inOwn.language, "en");
const inGerman = await must(app.GET("/api/v1/me/instruments/{instrument}", {
  params: { path: { instrument: inOwn.instrument }, query: { language: "de-AT" } },
}));
assert.equal(inGerman.language, "de");
const item = inGerman.items.find((of) => of.image !== undefined);
assert.ok(item?.image, "no item has an image");
assert.equal(item.text, "Wie geht es Ihnen?");
assert.equal(item.image.alt, "Ein Gesicht");
const image = await app.GET("/api/v1/me/images/{sha256}", { params: { path: { sha256: item.image.sha256 } }, parseAs: "blob" });
assert.equal(image.response.status, 200);
assert.equal(image.data?.type, "image/png");
const answers = (worst: number): Entry["answers"] => {
  const filled: Entry["answers"] = {};
  for (const item of asked.items) {
    if (item.askedWhen !== undefined) continue; // only asked when there was a rescue
    if (item.type === "boolean") filled[item.id] = false;
    else if (item.id === "worst") filled[item.id] = worst;
    else if (item.required) filled[item.id] = item.min ?? 1;
  }
  return filled;
};
const past = (await schedule()).windows.filter((of) => of.status === "passed");
assert.ok(past.length >= 4, `only ${past.length} windows have passed`);

// The device signs each entry: the canonical JSON of what it has captured.
const canonical = (value: unknown): string =>
  Array.isArray(value) ? `[${value.map(canonical).join()}]`
  : value === null || typeof value !== "object" ? JSON.stringify(value)
  : `{${Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, of]) => `${JSON.stringify(name)}:${canonical(of)}`).join()}}`;
const signed = async (entry: Entry): Promise<Entry> => {
  const made = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, pair.privateKey, new TextEncoder().encode(`casebook-entry-1\n${canonical(entry)}`));
  return { ...entry, signature: Buffer.from(made).toString("base64url") };
};
const moment = (at: number): string => new Date(at).toISOString().replace(/\.\d+Z$/, "Z");

// Four evenings offline: kept under a number and a key, and sent in any order, twice.
const kept: Schemas["BatchCommand"][] = await Promise.all(past.slice(-4).map(async (window, nth) => ({
  command: "SubmitDiary" as const,
  idempotencyKey: randomUUID(),
  body: await signed({
    patient, instrument, device, sequence: nth + 1, monotonicMs: 60_000 * (nth + 1), answers: answers(3 + nth),
    capturedAt: moment(Date.parse(window.closes) - 3_600_000),
  }),
})));
const recorded = new Map<string, string>();
for (const order of [[2, 0, 3, 1], [3, 2, 1, 0]]) {
  const batch = order.map((nth) => kept[nth]).filter((one) => one !== undefined);
  const { items } = await must(app.POST("/api/v1/commands:batch", { body: { commands: batch } }));
  assert.equal(items.length, 4);
  items.forEach((item, at) => {
    assert.equal(item.status, 200, item.problem?.detail);
    assert.equal(item.answer?.held, undefined);
    const [event] = item.answer?.events ?? [];
    assert.ok(event?.type === "DiarySubmitted", `it is recorded as ${event?.type}`);
    const id: string = `${batch[at]?.idempotencyKey}`;
    assert.equal(recorded.get(id) ?? event.id, event.id, "an entry was recorded twice");
    recorded.set(id, event.id);
    const { window } = event.data;
    assert.ok(past.some((of) => of.window === window.id), `the entry is in ${window.id}`);
  });
}
for (const window of past.slice(-4)) assert.equal(await standing(window.window), "sent");

// A second entry of an evening that has one is held, and not lost.
const evening = past.at(-1);
assert.ok(evening);
const again = await must(app.POST("/api/v1/commands/SubmitDiary", {
  params: key(),
  body: await signed({ patient, instrument, device, sequence: 5, monotonicMs: 400_000, answers: answers(9), capturedAt: moment(Date.parse(evening.closes) - 60_000) }),
}));
assert.equal(again.held?.why, "diary_submitted");
const [held] = again.events;
assert.ok(held?.type === "DiaryHeld" && held.data.for === evening.window, "it is not held for the window");

// So is one that somebody has changed on the way.
const forged = await must(app.POST("/api/v1/commands/SubmitDiary", {
  params: key(), body: { ...await signed({ patient, instrument, device, sequence: 6, answers: answers(1), capturedAt: moment(Date.now() - 60_000) }), answers: answers(2) },
}));
assert.equal(forged.held?.why, "signature_wrong");

// So is one of a clock that is an hour ahead: the app cannot know when it was.
const future = await must(app.POST("/api/v1/commands/SubmitDiary", {
  params: key(), body: await signed({ patient, instrument, device, sequence: 7, answers: answers(1), capturedAt: moment(Date.now() + 3_600_000) }),
}));
assert.equal(future.held?.why, "captured_in_future");

// What the app can mend is a problem with a field.
const mended = await app.POST("/api/v1/commands/SubmitDiary", {
  params: key(),
  body: { patient, instrument, device, sequence: -1, answers: answers(1), capturedAt: moment(Date.now()) },
});
assert.equal(mended.error?.code, "value_out_of_range");
assert.equal(mended.error?.field, "sequence");

// The patient asks for a correction, which an investigator applies; the patient sees where it stands.
const request = async (position: number): Promise<Schemas["CorrectionRequest"]> => {
  const list = await must(app.GET("/api/v1/me/diaries", { params: { query: { instrument }, header: { "Casebook-Position": position } } }));
  const found = list.items.find((of) => of.window === evening.window)?.requests?.at(-1);
  assert.ok(found, "the diary shows no request");
  return found;
};
const ask = await must(app.POST("/api/v1/commands/AskDiaryCorrection", {
  params: key(), body: { patient, instrument, window: evening.window, answers: { worst: 8 }, reason: "I have mistyped" },
}));
const waits = await request(ask.position);
assert.equal(waits.status, "waits");
const change: Schemas["DiaryChange"] | undefined = waits.changes.find((of) => of.item === "worst");
assert.equal(change?.old, 6);
assert.equal(change?.new, 8);
const refused = await app.POST("/api/v1/commands/CorrectDiary", { params: key(), body: { patient, request: waits.request, reason: "It is mine" } });
assert.equal(refused.response.status, 403);
const investigator = as(setting("CASEBOOK_INVESTIGATOR"));
const corrected = await must(investigator.POST("/api/v1/commands/CorrectDiary", { params: key(), body: { patient, request: waits.request, reason: "The patient has called" } }));
assert.equal((await request(corrected.position)).status, "applied");

console.log("the app has got to its end");
