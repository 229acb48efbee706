import t from 'tap';
import { campaign } from '../suites/campaign.ts';

campaign(t, { phones: 1_000, withinMs: 500_000 });
