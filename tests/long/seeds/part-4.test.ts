import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(676, 800);
