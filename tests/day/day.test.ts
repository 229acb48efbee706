import t from 'tap';
import { liveThroughDay } from './day.ts';

const SHORT = { phones: 3_000, hours: 1, seed: 3 };

t.test('an hour of phones, a restart of the relay and one of the proxy: no answer is wrong', async (t) => {
  const day = await liveThroughDay(SHORT);
  t.same(day.firstWrong, []);
  t.equal(day.wrong, 0);
  t.ok(day.polls > 170_000, `${day.polls} polls`);
  t.ok(day.unanswered > 0, 'the proxy was away');
  t.ok(day.cleared >= 15 && day.offers >= day.cleared, `${day.offers} offers, ${day.cleared} cleared`);
});

t.test('a clear that is lost would be seen', async (t) => {
  const day = await liveThroughDay({ ...SHORT, hours: 0.5, planted: 'lost clears' });
  t.ok(day.wrong > 0, `${day.wrong} wrong answers`);
});
