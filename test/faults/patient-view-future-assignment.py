import os, sys, datetime; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from casebook import *
day = lambda n: (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=n)).strftime('%Y-%m-%d')
st = study([diary()]); p = enrolled(st, day(-20))
command('crc.berlin', 'AssignInstrument', patient=p, instrument='diary', **{'from': day(-10), 'until': day(20)})
command('crc.berlin', 'AssignInstrument', patient=p, instrument='diary', **{'from': day(60), 'until': day(70)}); time.sleep(.5)
print([{k: i.get(k) for k in ('instrument', 'from', 'until')} for i in get('crc.berlin', '/patients/' + p)['instruments']])
print('   expected: the assignment in force,', day(-10), 'until', day(20), '(and the later one beside it)')
