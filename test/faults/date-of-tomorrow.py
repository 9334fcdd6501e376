import os, sys, datetime; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from casebook import *
st = study([diary()], zone='Pacific/Pago_Pago')  # UTC-11, the day begins last
local = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=11)
ahead = (local + datetime.timedelta(days=1)).strftime('%Y-%m-%d'); p = f'{st}.S-1'
print('local date at the site is', local.strftime('%Y-%m-%d %H:%M'))
def show(what, x): print(f'{what:34}', x[0], x[1].get('code', ''), '  expected 422 captured_in_future')
show('screened on ' + ahead, command('crc.berlin', 'ScreenPatient', must=False, study=st, site='01', screeningNumber='S-1', on=ahead, ageYears=50, sex='F'))
show('consent signed on ' + ahead, command('crc.berlin', 'RecordConsent', must=False, patient=p, consentVersion='1', on=ahead))
show('enrolled on ' + ahead, command('crc.berlin', 'EnrollPatient', must=False, patient=p, on=ahead, criteria={}, factors={}))
x = command('crc.berlin', 'RecordConsent', must=False, patient=p, consentVersion='1', on=local.strftime('%Y-%m-%d'))
print('and the right day afterwards:     ', x[0], x[1].get('code'))
