import {EventStoreDBClient, jsonEvent, NO_STREAM} from '@eventstore/db-client';
import {randomUUID} from 'crypto';
const client = EventStoreDBClient.connectionString(process.env.EVENTSTORE);
const stream = 'case-' + process.pid, e = jsonEvent({id: randomUUID(), type: 'T', data: {}});
const append = o => client.appendToStream(stream, [e, e], o).then(r => 'stored up to revision ' + r.nextExpectedRevision, x => x.type);
console.log('twice the same id in one append, any revision:', await append());
console.log('the same append again, no stream expected:    ', await append({expectedRevision: NO_STREAM}), '  expected success');
console.log('the same append again, any revision:          ', await append(), '  expected success');
await client.dispose();
