import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(1_176, 1_300);
