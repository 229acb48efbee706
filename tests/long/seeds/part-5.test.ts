import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(1_661, 2_000);
