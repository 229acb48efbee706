import t from 'tap';
import { campaign } from '../suites/campaign.ts';

campaign(t, { phones: 150, withinMs: 150_000 });
