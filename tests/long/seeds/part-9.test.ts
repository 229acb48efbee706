import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(1_301, 1_425);
