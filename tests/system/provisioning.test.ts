import t from 'tap';
import { provisioning } from '../suites/provisioning.ts';

provisioning(t, { phones: 30, sessionGapS: 2, busyPercent: 40 });
