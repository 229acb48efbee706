import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(1_321, 1_660);
