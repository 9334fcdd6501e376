// Tries the functions of the official Node.js client against the node whose connection string is the first argument. If
// the connection string names a user, the node must have the users admin and ops.
// Each step asserts its results. The first step that fails ends the script with its name and exit code 1.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  AccessDeniedError,
  BACKWARDS,
  END,
  EventStoreDBClient,
  FORWARDS,
  NO_STREAM,
  PARK,
  PersistentSubscriptionDoesNotExistError,
  PersistentSubscriptionExistsError,
  RETRY,
  START,
  STREAM_EXISTS,
  StreamDeletedError,
  StreamNotFoundError,
  WrongExpectedVersionError,
  binaryEvent,
  eventTypeFilter,
  jsonEvent,
  persistentSubscriptionToAllSettingsFromDefaults,
  persistentSubscriptionToStreamSettingsFromDefaults,
  streamNameFilter,
} from "@eventstore/db-client";

const stepLimit = 20_000; // milliseconds; ends a step that would wait for ever

const client = EventStoreDBClient.connectionString(process.argv[2]);
const hasUsers = process.argv[2].includes("@");
let steps = 0;

async function step(name, walk) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${stepLimit} ms`)), stepLimit);
  });
  try {
    await Promise.race([walk(), late]);
    steps++;
  } catch (error) {
    console.error(`step failed: ${name}\n${error.stack ?? error}`);
    process.exit(1);
  } finally {
    clearTimeout(timer);
  }
}

const diary = (answer) => jsonEvent({ type: "DiaryFilled", data: { answer }, metadata: { by: "patient" } });
const diaries = (...answers) => answers.map(diary);
const name = (prefix) => `${prefix}-${randomUUID()}`;

/** Reads to the end, or until count events were read. */
async function take(source, count = Infinity) {
  const seen = [];
  for await (const resolved of source) {
    seen.push(resolved);
    if (seen.length === count) break;
  }
  return seen;
}

const answers = (resolved) => resolved.map(({ event }) => event.data.answer);

/** Iterates over the events of a subscription; unlike take it can be continued. */
function deliveries(subscription) {
  const iterator = subscription[Symbol.asyncIterator]();
  return {
    async next(count) {
      const seen = [];
      while (seen.length < count) {
        const { value, done } = await iterator.next();
        assert.ok(!done, "the subscription ended");
        seen.push(value);
      }
      return seen;
    },
    close: () => subscription.unsubscribe(),
  };
}

const stream = name("diary");
const written = diaries(1, 2, 3, 4, 5);
let fifth;

await step("append to a new stream", async () => {
  const result = await client.appendToStream(stream, written, { expectedRevision: NO_STREAM });
  assert.equal(result.success, true);
  assert.equal(result.nextExpectedRevision, 4n);
  assert.ok(result.position.commit > 0n);
  fifth = result.position;
});

await step("append again with the same ids", async () => {
  const result = await client.appendToStream(stream, written, { expectedRevision: NO_STREAM });
  assert.equal(result.nextExpectedRevision, 4n);
  assert.equal((await take(client.readStream(stream))).length, 5);
});

await step("append with a wrong expected version", async () => {
  await assert.rejects(client.appendToStream(stream, diary(6), { expectedRevision: 2n }), (error) => {
    assert.ok(error instanceof WrongExpectedVersionError, String(error));
    assert.equal(error.streamName, stream);
    assert.equal(error.expectedVersion, 2n);
    assert.equal(error.actualVersion, 4n);
    return true;
  });
  await assert.rejects(client.appendToStream(name("none"), diary(1), { expectedRevision: STREAM_EXISTS }), (error) => {
    assert.ok(error instanceof WrongExpectedVersionError, String(error));
    assert.equal(error.actualVersion, NO_STREAM);
    return true;
  });
});

await step("append one event without the batch call", async () => {
  const other = name("single");
  const credentials = { username: "admin", password: "changeit" };
  const result = await client.appendToStream(other, diary(1), { expectedRevision: NO_STREAM, credentials });
  assert.equal(result.nextExpectedRevision, 0n);
  await assert.rejects(
    client.appendToStream(other, diary(2), { expectedRevision: NO_STREAM, credentials }),
    WrongExpectedVersionError,
  );
});

await step("read a stream forwards", async () => {
  const all = await take(client.readStream(stream, { direction: FORWARDS, fromRevision: START }));
  assert.deepEqual(answers(all), [1, 2, 3, 4, 5]);
  all.forEach(({ event }, i) => {
    assert.equal(event.id, written[i].id);
    assert.equal(event.streamId, stream);
    assert.equal(event.revision, BigInt(i));
    assert.equal(event.type, "DiaryFilled");
    assert.equal(event.isJson, true);
    assert.deepEqual(event.metadata, { by: "patient" });
    assert.ok(Math.abs(Date.now() - event.created.getTime()) < 3_600_000, `created ${event.created}`);
  });
  assert.deepEqual(answers(await take(client.readStream(stream, { fromRevision: 2n, maxCount: 2 }))), [3, 4]);
});

await step("read a stream backwards", async () => {
  const all = await take(client.readStream(stream, { direction: BACKWARDS, fromRevision: END, maxCount: 3 }));
  assert.deepEqual(answers(all), [5, 4, 3]);
  assert.deepEqual(answers(await take(client.readStream(stream, { direction: BACKWARDS, fromRevision: 1n }))), [2, 1]);
});

await step("read a stream that does not exist", async () => {
  const missing = name("missing");
  await assert.rejects(take(client.readStream(missing)), (error) => {
    assert.ok(error instanceof StreamNotFoundError, String(error));
    assert.equal(error.streamName, missing);
    return true;
  });
});

await step("binary data are returned unchanged", async () => {
  const blob = name("blob");
  const data = Uint8Array.from({ length: 256 }, (_, i) => i);
  const metadata = Uint8Array.of(0, 255, 1);
  await client.appendToStream(blob, binaryEvent({ type: "Scan", data, metadata }));
  const [{ event }] = await take(client.readStream(blob));
  assert.equal(event.isJson, false);
  assert.deepEqual([...event.data], [...data]);
  assert.deepEqual([...event.metadata], [...metadata]);
});

await step("read $all", async () => {
  const forwards = (await take(client.readAll())).filter(({ event }) => event.streamId === stream);
  assert.deepEqual(answers(forwards), [1, 2, 3, 4, 5]);
  const positions = forwards.map(({ event }) => event.position.commit);
  assert.deepEqual(positions, [...positions].sort((a, b) => (a < b ? -1 : 1)));
  const backwards = (await take(client.readAll({ direction: BACKWARDS, fromPosition: END }))).filter(
    ({ event }) => event.streamId === stream,
  );
  assert.deepEqual(answers(backwards), [5, 4, 3, 2, 1]);
  const [from] = await take(client.readAll({ fromPosition: fifth, maxCount: 1 }));
  assert.equal(from.event.id, written[4].id);
});

await step("subscribe to a stream, from its start and then live", async () => {
  const subscription = client.subscribeToStream(stream, { fromRevision: START });
  const caughtUp = once(subscription, "caughtUp");
  const delivered = deliveries(subscription);
  assert.deepEqual(answers(await delivered.next(5)), [1, 2, 3, 4, 5]);
  await caughtUp;
  await client.appendToStream(stream, diary(6), { expectedRevision: 4n });
  assert.deepEqual(answers(await delivered.next(1)), [6]);
  await delivered.close();
});

await step("subscribe to a stream after a revision", async () => {
  const delivered = deliveries(client.subscribeToStream(stream, { fromRevision: 3n }));
  assert.deepEqual(answers(await delivered.next(2)), [5, 6]);
  await delivered.close();
});

await step("subscribe to $all after a position", async () => {
  const delivered = deliveries(client.subscribeToAll({ fromPosition: fifth, filter: streamNameFilter({ prefixes: [stream] }) }));
  assert.deepEqual(answers(await delivered.next(1)), [6]);
  await delivered.close();
});

await step("subscribe to $all by stream name, with checkpoints", async () => {
  const prefix = name("visit");
  for (let i = 0; i < 3; i++) {
    await client.appendToStream(`${prefix}-${i}`, diaries(i, 10 + i));
    await client.appendToStream(name("noise"), diaries(...Array.from({ length: 20 }, (_, n) => n)));
  }
  const checkpoints = [];
  const subscription = client.subscribeToAll({
    fromPosition: START,
    filter: streamNameFilter({
      prefixes: [prefix],
      maxSearchWindow: 10,
      checkpointInterval: 1,
      checkpointReached: (_, position) => void checkpoints.push(position),
    }),
  });
  const caughtUp = once(subscription, "caughtUp");
  const delivered = deliveries(subscription);
  assert.deepEqual(answers(await delivered.next(6)), [0, 10, 1, 11, 2, 12]);
  // Ask for one more event, so that the events behind the last match are considered too.
  const live = delivered.next(1);
  await caughtUp;
  assert.ok(checkpoints.length > 0, "no checkpoint was reached");
  await client.appendToStream(`${prefix}-live`, diary(99));
  assert.deepEqual(answers(await live), [99]);
  await delivered.close();
});

await step("subscribe to $all by event type", async () => {
  const type = name("Screened");
  const other = name("screening");
  await client.appendToStream(other, [diary(1), jsonEvent({ type, data: { answer: 2 } }), diary(3)]);
  const byPrefix = deliveries(client.subscribeToAll({ fromPosition: START, filter: eventTypeFilter({ prefixes: [type] }) }));
  assert.deepEqual(answers(await byPrefix.next(1)), [2]);
  await byPrefix.close();
  const byExpression = deliveries(client.subscribeToAll({ fromPosition: START, filter: eventTypeFilter({ regex: `^${type}$` }) }));
  assert.deepEqual(answers(await byExpression.next(1)), [2]);
  await byExpression.close();
});

await step("stream metadata", async () => {
  const short = name("short");
  await client.appendToStream(short, diaries(1, 2, 3));
  await client.setStreamMetadata(short, { maxCount: 2, ward: "north" });
  const { metadata } = await client.getStreamMetadata(short);
  assert.equal(metadata.maxCount, 2);
  assert.equal(metadata.ward, "north");
  assert.deepEqual(answers(await take(client.readStream(short))), [2, 3]);
});

await step("delete a stream and write to it again", async () => {
  const gone = name("deleted");
  await client.appendToStream(gone, diaries(1, 2));
  await assert.rejects(client.deleteStream(gone, { expectedRevision: 0n }), WrongExpectedVersionError);
  const { position } = await client.deleteStream(gone, { expectedRevision: 1n });
  assert.ok(position.commit > 0n);
  await assert.rejects(take(client.readStream(gone)), StreamNotFoundError);
  const { nextExpectedRevision } = await client.appendToStream(gone, diary(3), { expectedRevision: NO_STREAM });
  assert.equal(nextExpectedRevision, 2n);
  assert.deepEqual(answers(await take(client.readStream(gone))), [3]);
});

await step("tombstone a stream", async () => {
  const dead = name("tombstoned");
  await client.appendToStream(dead, diary(1));
  const { position } = await client.tombstoneStream(dead, { expectedRevision: 0n });
  assert.ok(position.commit > 0n);
  const refused = (error) => {
    assert.ok(error instanceof StreamDeletedError, String(error));
    assert.equal(error.streamName, dead);
    return true;
  };
  await assert.rejects(take(client.readStream(dead)), refused);
  await assert.rejects(client.appendToStream(dead, diary(2)), refused);
});

const shared = name("shared");
const group = "readers";
const settings = persistentSubscriptionToStreamSettingsFromDefaults({ startFrom: START, maxRetryCount: 3 });

await step("create a persistent subscription", async () => {
  await client.appendToStream(shared, diaries(1, 2, 3, 4));
  await client.createPersistentSubscriptionToStream(shared, group, settings);
  await assert.rejects(client.createPersistentSubscriptionToStream(shared, group, settings), PersistentSubscriptionExistsError);
});

await step("read a persistent subscription with ack and nack", async () => {
  const subscription = client.subscribeToPersistentSubscriptionToStream(shared, group, { bufferSize: 4 });
  const delivered = deliveries(subscription);
  const [one, two, three, four] = await delivered.next(4);
  assert.deepEqual(answers([one, two, three, four]), [1, 2, 3, 4]);
  assert.equal(two.retryCount, 0);
  await subscription.ack(one, four);
  await subscription.nack(RETRY, "once more", two);
  const [again] = await delivered.next(1);
  assert.equal(again.event.id, two.event.id);
  assert.equal(again.retryCount, 1);
  await subscription.ack(again);
  await subscription.nack(PARK, "not understood", three);
  await client.appendToStream(shared, diary(5));
  const [live] = await delivered.next(1);
  assert.equal(live.event.data.answer, 5);
  await subscription.ack(live);

  // Wait until the group reports the parked event. A replay then delivers it again.
  for (let parked = 0; parked === 0; ) {
    const info = await client.getPersistentSubscriptionToStreamInfo(shared, group);
    parked = Number(info.stats.parkedMessageCount);
  }
  await client.replayParkedMessagesToStream(shared, group);
  const [replayed] = await delivered.next(1);
  assert.equal((replayed.event ?? replayed.link).id, three.event.id);
  await subscription.ack(replayed);
  await delivered.close();
});

await step("update a persistent subscription", async () => {
  await client.updatePersistentSubscriptionToStream(shared, group, { ...settings, maxRetryCount: 7 });
  const info = await client.getPersistentSubscriptionToStreamInfo(shared, group);
  assert.equal(Number(info.settings.maxRetryCount), 7);
  assert.equal(info.eventSource, shared);
  assert.equal(info.groupName, group);
  await assert.rejects(
    client.updatePersistentSubscriptionToStream(shared, "nobody", settings),
    PersistentSubscriptionDoesNotExistError,
  );
});

await step("list persistent subscriptions", async () => {
  await client.createPersistentSubscriptionToStream(shared, "others", settings);
  const ofStream = await client.listPersistentSubscriptionsToStream(shared);
  assert.deepEqual(ofStream.map((info) => info.groupName).sort(), ["others", group].sort());
  const all = await client.listAllPersistentSubscriptions();
  assert.equal(all.filter((info) => info.eventSource === shared).length, 2);
});

await step("delete a persistent subscription", async () => {
  await client.deletePersistentSubscriptionToStream(shared, group);
  await assert.rejects(client.deletePersistentSubscriptionToStream(shared, group), PersistentSubscriptionDoesNotExistError);
  const left = await client.listPersistentSubscriptionsToStream(shared);
  assert.deepEqual(left.map((info) => info.groupName), ["others"]);
});

await step("a persistent subscription to $all with a filter", async () => {
  const prefix = name("ward");
  const all = name("all");
  await client.appendToStream(`${prefix}-1`, diaries(1, 2));
  await client.createPersistentSubscriptionToAll(all, persistentSubscriptionToAllSettingsFromDefaults({ startFrom: START }), {
    filter: streamNameFilter({ prefixes: [prefix] }),
  });
  const subscription = client.subscribeToPersistentSubscriptionToAll(all);
  const delivered = deliveries(subscription);
  const seen = await delivered.next(2);
  assert.deepEqual(answers(seen), [1, 2]);
  await subscription.ack(...seen);
  await delivered.close();
  const info = await client.getPersistentSubscriptionToAllInfo(all);
  assert.equal(info.groupName, all);
  await client.deletePersistentSubscriptionToAll(all);
  await assert.rejects(client.getPersistentSubscriptionToAllInfo(all), PersistentSubscriptionDoesNotExistError);
});

const wrong = { username: "admin", password: "wrong" };
const operator = { username: "ops", password: "changeit" };

if (hasUsers) {
  await step("a wrong password is refused", async () => {
    await assert.rejects(take(client.readStream(stream, { credentials: wrong })), AccessDeniedError);
    await assert.rejects(client.appendToStream(stream, diary(7), { credentials: wrong }), AccessDeniedError);
    assert.equal((await take(client.readStream(stream))).length, 6);
  });

  await step("an access list is enforced", async () => {
    const closed = name("closed");
    await client.appendToStream(closed, diary(1));
    assert.deepEqual(answers(await take(client.readStream(closed, { credentials: operator }))), [1]);
    await client.setStreamMetadata(closed, { acl: { readRoles: ["$admins"] } });
    await assert.rejects(take(client.readStream(closed, { credentials: operator })), AccessDeniedError);
    await assert.rejects(take(client.readAll({ credentials: operator })), AccessDeniedError);
    assert.deepEqual(answers(await take(client.readStream(closed))), [1]);
  });
} else {
  await step("without users all credentials are accepted", async () => {
    assert.equal((await take(client.readStream(stream, { credentials: wrong }))).length, 6);
  });
}

await client.dispose();
console.log(`${steps} steps passed`);
