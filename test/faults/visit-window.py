import os, sys; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from casebook import *
st = study([diary()])
visit = lambda id, day: {'id': id, 'title': id, 'day': day, 'daysBefore': 2, 'daysAfter': 2, 'forms': []}
command('data.manager', 'PublishProtocolVersion', study=st, protocol={'version': 2, 'consentVersion': '1', 'instruments': [diary()],
    'arms': [{'id': 'A', 'title': 'A'}, {'id': 'B', 'title': 'B'}], 'visits': [visit('w2', 14), visit('w4', 28)], 'forms': [], 'criteria': [],
    'treatment': {'randomised': False, 'kits': False}, 'alerts': {'reviewMinutes': 60, 'missedInARow': 3}})
p = enrolled(st, '2026-10-01')
for v, on, allowed in (('w4', '2026-10-02', '27 to 31 October'), ('w2', '2026-11-25', '13 to 17 October')):
    s, r = command('crc.berlin', 'RecordVisit', must=False, patient=p, visit=v, on=on)
    print(v, 'on', on, s, r.get('code') or r['events'][0]['data'], f'  expected: refused, or recorded with a flag (planned for {allowed})')
