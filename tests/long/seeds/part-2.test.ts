import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(426, 550);
