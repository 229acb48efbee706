import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(1_051, 1_175);
