import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(641, 980);
