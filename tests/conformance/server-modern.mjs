// Everything that the conformance suites want, as a server of 2026-07-28 and of nothing older.

import * as features from './features.mjs';
import { serve } from './serve-modern.mjs';

await serve({ ...features });
