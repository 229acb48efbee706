import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(1_801, 1_925);
