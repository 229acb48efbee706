import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(1_926, 2_000);
