import { testBugs } from './test-bugs.ts';

testBugs(3);
