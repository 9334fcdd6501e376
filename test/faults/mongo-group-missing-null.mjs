import {MongoClient} from 'mongodb';
const client = await new MongoClient(process.env.MONGO).connect();
const c = client.db('case').collection('group' + process.pid);
await c.insertMany([{_id: 1, home: {town: null}}, {_id: 2, home: null}, {_id: 3, home: {}}, {_id: 4}]);
console.log('got', JSON.stringify(await c.aggregate([{$group: {_id: {town: '$home.town'}, n: {$sum: 1}}}]).toArray()), '\n   expected one group, [{"_id":{"town":null},"n":4}]');
await c.drop(); await client.close();
