import {MongoClient} from 'mongodb';
const client = await new MongoClient(process.env.MONGO).connect();
const c = client.db('case').collection('empty' + process.pid);
await c.insertMany([{_id: 1, a: null}, {_id: 2, a: []}, {_id: 3}, {_id: 4, a: {b: []}}]);
const ids = async s => (await c.find().sort({'a.b': s, _id: 1}).toArray()).map(d => d._id).join();
// {a: []} has no element that could have a b, so that its key for a.b is null as for {} (only {a: {b: []}} has undefined).
console.log('ascending  got', await ids(1), '  expected 4,1,2,3');
console.log('descending got', await ids(-1), '  expected 1,2,3,4');
await c.deleteMany({}); await c.createIndex({'a.b': 1}, {unique: true}); await c.insertOne({_id: 1, a: []});
console.log('unique index on a.b, {a: []} and {}:', await c.insertOne({_id: 2}).then(() => 'both stored', e => e.code), '  expected 11000');
await c.drop(); await client.close();
