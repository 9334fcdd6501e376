import os, sys, datetime, time; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from casebook import *
now = datetime.datetime.now(datetime.timezone.utc)
opens = now + datetime.timedelta(seconds=75); opens += datetime.timedelta(seconds=60 - opens.second)
st = study([diary('diary', opens.strftime('%H:%M'), '23:59', remind=True, sync=36), diary('weekly', '00:00', '23:58', sync=48)], zone='Etc/UTC')
day = now.strftime('%Y-%m-%d'); until = (now + datetime.timedelta(days=20)).strftime('%Y-%m-%d')
alone, then = enrolled(st, '2026-01-10'), enrolled(st, '2026-01-10')
command('crc.berlin', 'AssignInstrument', patient=alone, instrument='diary', **{'from': day, 'until': until})
command('crc.berlin', 'AssignInstrument', patient=then, instrument='diary', **{'from': day, 'until': until})
command('crc.berlin', 'AssignInstrument', patient=then, instrument='weekly', **{'from': day, 'until': until})
wait = (opens - datetime.datetime.now(datetime.timezone.utc)).total_seconds() + 8
print('the window opens at', opens.strftime('%H:%M'), 'UTC; waiting', round(wait), 's'); time.sleep(max(wait, 0))
for name, p in (('diary alone', alone), ('diary, then weekly', then)):
    found = get('auditor', f'/audit/studies/{st}/events?patient={p}&type=DiaryReminderDue')['items']
    print(f'{name:20} reminders: {len(found)}   expected 1')
