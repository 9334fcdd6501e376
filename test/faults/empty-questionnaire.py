import os, sys; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from casebook import *
st = study([diary('q', '06:00', '00:00', required=False)])
p = enrolled(st, '2026-11-01'); command('crc.berlin', 'AssignInstrument', patient=p, instrument='q', **{'from': '2026-11-02', 'until': '2026-12-30'})
print('an empty one at 12:00     ', submit(p, '2026-11-26T12:00:00+01:00', None, 'q'), '\n   expected: a refusal by name (nothing was answered)')
print('the real one at 13:00     ', submit(p, '2026-11-26T13:00:00+01:00', 9, 'q'), '\n   expected: accepted, with RiskFlagged')
time.sleep(.3); print(get('crc.berlin', '/patients/' + p)['compliance'], '\n   expected: not completed')
