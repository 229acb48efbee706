import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(1_551, 1_675);
