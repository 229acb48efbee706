import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(1_426, 1_550);
