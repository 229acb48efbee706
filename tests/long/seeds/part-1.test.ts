import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(301, 425);
