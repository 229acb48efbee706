import { testSeeds } from '../../simulation/test-seeds.ts';

testSeeds(551, 675);
