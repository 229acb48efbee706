import t from 'tap';
import { provisioning } from '../suites/provisioning.ts';

provisioning(t, { phones: 200, sessionGapS: 60, busyPercent: 15 });
