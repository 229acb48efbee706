import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(981, 1_320);
