import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(801, 925);
