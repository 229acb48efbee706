import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(1_676, 1_800);
