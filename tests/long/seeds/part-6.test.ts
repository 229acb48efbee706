import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(926, 1_050);
