"""A study of its own on a running `casebook demo`, whose accounts and password it uses. CASEBOOK is the server's address."""
import json, os, threading, time, uuid, urllib.request, urllib.error
BASE = os.environ.get('CASEBOOK', 'http://127.0.0.1:8080') + '/api/v1'
_tokens = {}
SEES_ARMS = ('investigator', 'safety_officer', 'statistician', 'unblinded_supply_manager')  # two administrators give them

def call(method, path, body=None, token=None, headers=None):
    h = {'Content-Type': 'application/json', **(headers or {})}
    if token:
        h['Authorization'] = 'Bearer ' + token
    req = urllib.request.Request(BASE + path, method=method, headers=h, data=None if body is None else json.dumps(body).encode())
    try:
        with urllib.request.urlopen(req, timeout=30) as f:
            return f.status, json.loads(f.read() or b'null')
    except urllib.error.HTTPError as e:
        return e.code, json.loads(e.read() or b'null')

_signing_in = threading.Lock()
TOKEN_SECONDS = 240  # a token is good for ten minutes, and proves a fresh sign-in for five

def token(user):
    """Returns a token of the user; it signs in again before the token gets old."""
    with _signing_in:
        while user not in _tokens or time.time() - _tokens[user][1] > TOKEN_SECONDS:
            status, answer = call('POST', '/sign-in', {'user': user, 'password': 'casebook-demo-2026'})
            if status == 429:  # too many sign-ins at once
                time.sleep(1)
            elif status != 200:
                raise SystemExit(f'sign-in of {user}: {status} {answer}')
            else:
                _tokens[user] = (answer['token'], time.time())
    return _tokens[user][0]

def command(by, command_name, must=True, **body):
    status, answer = call('POST', '/commands/' + command_name, body, token(by), {'Idempotency-Key': str(uuid.uuid4())})
    if must and status != 200:
        raise SystemExit(f'{command_name}: {status} {answer}')
    return status, answer

def get(user, path):
    return call('GET', path, None, token(user))[1]

def item(id, required=True, **more):
    return {'id': id, 'text': id, 'type': 'integer', 'min': 0, 'max': 10, 'required': required, **more}

def diary(id='diary', opens='18:00', closes='00:00', accept=12, sync=36, remind=False, version=1, required=True):
    return {'id': id, 'version': version, 'title': id, 'source': 'own', 'items': [item('pain', required)],
            'riskRules': [{'id': 'severe', 'severity': 'urgent', 'when': 'answers.pain >= 8', 'message': 'severe pain'}],
            'schedule': {'everyDays': 1, 'windows': [{'id': 'w', 'opens': opens, 'closes': closes}], 'remind': remind,
                         'late': {'acceptHours': accept, 'syncHours': sync}}}

def study(instruments, zone='Europe/Berlin', treatment=None, arms=None):
    st = 'C' + uuid.uuid4().hex[:8].upper()
    for user, role, site in (('data.manager', 'data_manager', None), ('crc.berlin', 'crc', '01'), ('auditor', 'auditor', None),
                             ('statistician', 'statistician', None), ('supply.manager', 'supply_manager', None),
                             ('supply.unblinded', 'unblinded_supply_manager', None)):
        grant = {'role': role, 'study': st}
        if site:
            grant['site'] = site
        command('admin', 'GrantRole', user=user, grant=grant)
        if role in SEES_ARMS:
            command('admin.deputy', 'ConfirmRole', user=user, grant=grant)
    command('data.manager', 'CreateStudy', study=st, title='a case', sponsor='nobody')
    publish(st, instruments, treatment, arms)
    command('data.manager', 'AddSite', study=st, site='01', name='Site', country='DE', zone=zone)
    command('data.manager', 'ActivateSite', study=st, site='01', on='2026-01-01')
    command('data.manager', 'OpenEnrollment', study=st, caps={'target': 50, 'study': 100})
    return st

def publish(st, instruments, treatment=None, arms=None, version=1):
    protocol = {'version': version, 'consentVersion': '1', 'instruments': instruments,
                'arms': arms or [{'id': 'A', 'title': 'A'}, {'id': 'B', 'title': 'B'}],
                'visits': [{'id': 'v', 'title': 'v', 'day': 1, 'daysAfter': 300, 'forms': []}], 'forms': [], 'criteria': [],
                'treatment': treatment or {'randomised': False, 'kits': False}, 'alerts': {'reviewMinutes': 60, 'missedInARow': 3}}
    command('data.manager', 'PublishProtocolVersion', study=st, protocol=protocol)

def patient(st, on, number=None):
    number = number or 'S-' + uuid.uuid4().hex[:6]
    p = f'{st}.{number}'
    command('crc.berlin', 'ScreenPatient', study=st, site='01', screeningNumber=number, on=on, ageYears=50, sex='F')
    command('crc.berlin', 'RecordConsent', patient=p, consentVersion='1', on=on)
    return p

def enrolled(st, on):
    p = patient(st, on)
    command('crc.berlin', 'EnrollPatient', patient=p, on=on, criteria={}, factors={})
    for _ in range(100):
        if get('crc.berlin', '/patients/' + p).get('status') == 'enrolled':
            return p
        time.sleep(.05)
    raise SystemExit(p + ' was not enrolled')

def submit(p, at, pain, instrument='diary', zone=None):
    body = {'patient': p, 'instrument': instrument, 'capturedAt': at, 'answers': {} if pain is None else {'pain': pain}}
    if zone:
        body['zone'] = zone
    status, a = command('crc.berlin', 'SubmitDiary', must=False, **body)
    if status == 200:
        d = a['events'][0]['data']
        return f"{status} window {d['window']['id']}{' LATE' if d.get('late') else ''}{' +' + a['events'][1]['type'] if len(a['events']) > 1 else ''}"
    return f"{status} {a['code']}: {a['detail']}"
