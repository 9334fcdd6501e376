import os, sys, datetime; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from casebook import *
now = datetime.datetime.now(datetime.timezone.utc); day = lambda n: (now + datetime.timedelta(days=n)).strftime('%Y-%m-%d')
st = study([diary()])  # told after 3 missed in a row
def missing(*ranges):
    p = enrolled(st, day(-20))
    for a, b in ranges:
        command('crc.berlin', 'AssignInstrument', patient=p, instrument='diary', **{'from': day(a), 'until': day(b)})
    _, r = command('crc.berlin', 'CloseDiaryWindows', patient=p, through=now.strftime('%Y-%m-%dT%H:%M:%SZ')); time.sleep(1)
    found = [a for a in get('crc.berlin', f'/studies/{st}/alerts?site=01&limit=100')['items'] if a.get('patient') == p]
    return f"{len(r['events'])} windows missed, alerts: {[a['kind'] for a in found]}"
print('one assignment of 6 days      ', missing((-12, -7)), '  expected 1 alert')
print('renewed after 2, and after 4  ', missing((-12, -11), (-10, -9), (-8, -7)), '  expected 1 alert')
