// Start a throw-away server first. Usage: node foreign-event-ends-server.mjs [type]
import {EventStoreDBClient, jsonEvent} from '@eventstore/db-client';
import {randomUUID} from 'crypto';
const client = EventStoreDBClient.connectionString(process.env.EVENTSTORE);
const type = process.argv[2] ?? 'ProcessTimerStarted'; // or InstrumentAssignedToBoard: the filter takes what a type begins with
await client.appendToStream('crm-1', [jsonEvent({id: randomUUID(), type, data: {of: 'another program'}})]);
console.log('appended', type, 'to crm-1; two seconds later the server', await new Promise(r => setTimeout(r, 2000)) ??
  await client.appendToStream('crm-2', [jsonEvent({id: randomUUID(), type: 'Ping', data: {}})]).then(() => 'answers', e => 'is gone: ' + e.message.slice(0, 80)), '  expected: answers');
await client.dispose();
