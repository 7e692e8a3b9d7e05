// Everything that the conformance suites want, as a server of 2025-11-25 and before.

import * as features from './features.mjs';
import { serve } from './serve-legacy.mjs';

await serve({ ...features });
