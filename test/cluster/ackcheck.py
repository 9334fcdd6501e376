#!/usr/bin/env python3
"""Load with accounting against a running casebook whose accounts are the demo's: N patients, T threads post diaries with
idempotency keys; every answer is noted. SIGTERM/time ends it; then the views must hold each acknowledged diary once.
usage: CASEBOOK=http://127.0.0.1:8080[,http://...] ackcheck.py PATIENTS THREADS SECONDS"""
import sys, os, json, time, uuid, threading, random, datetime, urllib.request, urllib.error
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
bases = os.environ.get('CASEBOOK', 'http://127.0.0.1:8080').split(',')
os.environ['CASEBOOK'] = bases[0]
import casebook as lib
N, T, S = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
today = datetime.date.today()
WIN = 700
start = today - datetime.timedelta(days=WIN + 2)
d = lib.diary()
st = lib.study([d])
print('study', st, flush=True)
pats = []
for i in range(N):
    p = lib.patient(st, str(start))
    lib.command('crc.berlin', 'EnrollPatient', patient=p, on=str(start), criteria={}, factors={})
    pats.append(p)
for p in pats:
    for _ in range(400):
        if lib.get('crc.berlin', '/patients/' + p).get('status') == 'enrolled': break
        time.sleep(.05)
    else: raise SystemExit(p + ' not enrolled')
    lib.command('crc.berlin', 'AssignInstrument', patient=p, instrument='diary', **{'from': str(start), 'until': str(today)})
print('enrolled', len(pats), flush=True)
acked, unknown, refused, errs = {}, {}, {}, {}
mu = threading.Lock(); stop = time.time() + S
slow = []; gaps = []; last = [time.time()]
def post(base, body, key):
    req = urllib.request.Request(base + '/api/v1/commands/SubmitDiary', method='POST', data=json.dumps(body).encode(),
        headers={'Content-Type': 'application/json', 'Authorization': 'Bearer ' + lib.token('crc.berlin'), 'Idempotency-Key': key})
    try:
        with urllib.request.urlopen(req, timeout=20) as f: return f.status, json.loads(f.read())
    except urllib.error.HTTPError as e:
        return e.code, json.loads(e.read() or b'null')
    except Exception as e:
        return 0, {'code': type(e).__name__}
def work(t):
    mine = pats[t::T]; nxt = {p: 0 for p in mine}; r = random.Random(t)
    while time.time() < stop and mine:
        p = r.choice(mine); n = nxt[p]
        if n >= WIN: mine.remove(p); continue
        day = start + datetime.timedelta(days=n); key = str(uuid.uuid4()); pain = r.randint(0, 7)
        body = {'patient': p, 'instrument': 'diary', 'capturedAt': f'{day}T19:00:00+01:00', 'answers': {'pain': pain}}
        tries = 0
        while True:
            a = time.time(); s, j = post(bases[(t + tries) % len(bases)], body, key); took = time.time() - a
            tries += 1
            with mu:
                if s == 200:
                    acked[(p, str(day))] = (pain, j['position'], tries); slow.append(took)
                    now = time.time(); gaps.append(now - last[0])
                    if now - last[0] > 1: print(time.strftime('%T'), 'first ack after a silence of %.1f s' % (now - last[0]), flush=True)
                    last[0] = now
                else: errs[(s, j.get('code') if j else None)] = errs.get((s, j.get('code') if j else None), 0) + 1
            if s == 200: break
            if s in (0, 429, 500, 502, 503, 504):
                if time.time() > stop + 60:
                    with mu: unknown[(p, str(day))] = pain
                    return
                time.sleep(.2); continue
            with mu: refused[(p, str(day))] = (s, j)
            break
        nxt[p] += 1
ts = [threading.Thread(target=work, args=(t,)) for t in range(T)]; [t.start() for t in ts]; [t.join() for t in ts]
slow.sort()
print('acked', len(acked), 'unknown', len(unknown), 'refused', len(refused), 'retried', sum(v[2] > 1 for v in acked.values()), 'errors', errs)
print('p50 %.1f ms p99 %.1f ms max %.1f s; longest silence %.1f s' % (slow[len(slow)//2]*1e3, slow[len(slow)*99//100]*1e3, slow[-1], max(gaps)))
for r in list(refused.items())[:3]: print('refused', r)
pos = max(v[1] for v in acked.values()); bad = 0; seen = 0
for p in pats:
    cur = ''; got = {}
    while True:
        for _ in range(60):
            s, j = lib.call('GET', f'/patients/{p}/diaries?limit=200{cur}', None, lib.token('crc.berlin'), {'Casebook-Position': str(pos)})
            if s == 200: break
            time.sleep(1)
        else: raise SystemExit(f'{p}: {s} {j}')
        for i in j['items']:
            day = (i.get('window') or '')[:10]
            if day in got: bad += 1; print('TWICE', p, day)
            got[day] = i.get('answers', {}).get('pain')
        if not j.get('next'): break
        cur = '&cursor=' + j['next']
    for (q, day), (pain, position, tries) in acked.items():
        if q != p: continue
        seen += 1
        if got.get(day) != pain: bad += 1; print('LOST or WRONG', p, day, 'acked', pain, 'view', got.get(day), 'at', position)
    extra = [x for x in got if (p, x) not in acked and (p, x) not in unknown and got[x] is not None]
    if extra: bad += len(extra); print('NEVER ACKED', p, extra[:3])
print('checked', seen, 'violations', bad); sys.exit(bad > 0)
