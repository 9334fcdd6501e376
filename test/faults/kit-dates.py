import os, sys, datetime, random; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from casebook import *
today = datetime.datetime.now(datetime.timezone.utc).date(); day = lambda n: (today + datetime.timedelta(days=n)).isoformat()
st = study([diary()], treatment={'randomised': True, 'kits': True, 'doNotDispenseDays': 30, 'dispensingVisits': [], 'factors': []})
_, a = command('statistician', 'GenerateRandomisationList', study=st, scheme='L', perStratum=8, blockSizes=[4], ratio={'A': 1, 'B': 1})
command('statistician', 'ActivateRandomisation', study=st, scheme='L', sha256=a['events'][0]['data']['sha256'])
command('supply.manager', 'OpenDepot', study=st, depot='D', name='Depot')
kits = [f'K{n}' for n in random.sample(range(10000, 99999), 12)]
while True:
    arms = random.sample(['A', 'B'] * 6, 12)
    status, a = command('supply.unblinded', 'RegisterKits', must=False, study=st, depot='D', csv='kit,arm,lot,expiry\n' + ''.join(f'{k},{x},L1,{day(300)}\n' for k, x in zip(kits, arms)))
    if status == 200: break
command('supply.unblinded', 'ReleaseBatch', study=st, lot='L1', certificate='c')
for _ in range(50):
    status, a = command('supply.manager', 'CreateShipment', must=False, **{'study': st, 'from': 'D', 'to': '01', 'kits': kits, 'reason': 'initial'})
    if status == 200: break
    time.sleep(.1)
sh = a['events'][0]['data']['shipment']
command('supply.manager', 'DispatchShipment', **{'study': st, 'from': 'D', 'shipment': sh, 'on': day(0)})
command('crc.berlin', 'ReceiveShipment', **{'study': st, 'from': 'D', 'location': '01', 'shipment': sh, 'on': day(0), 'temperature': 'in_range'})
p = enrolled(st, day(-5)); time.sleep(.3)
kit = [k['kit'] for k in get('crc.berlin', f'/studies/{st}/kits?location=01&limit=50')['items'] if k.get('patient') == p][0]
print('enrolled on', day(-5), '- kit received at the site on', day(0))
s, r = command('crc.berlin', 'DispenseKit', must=False, patient=p, site='01', kit=kit, on=day(-60)); print('dispensed on', day(-60), s, r.get('code', 'accepted'), '  expected: refused, before enrolment and before receipt')
if s != 200: command('crc.berlin', 'DispenseKit', patient=p, site='01', kit=kit, on=day(0))
s, r = command('crc.berlin', 'ReturnKit', must=False, patient=p, site='01', kit=kit, on=day(-90)); print('returned on ', day(-90), s, r.get('code', 'accepted'), '  expected: refused, before it was dispensed')
time.sleep(.3)
for c in get('crc.berlin', f'/studies/{st}/kits/{kit}')['custody'][-4:]: print('  ', c['what'], c.get('on', ''))
