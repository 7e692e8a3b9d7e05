// A server of 2025-11-25 and before on the official SDK 1.x: it answers `server/discover` with `-32601`, and lives.

import { serve } from '../../conformance/serve-legacy.mjs';
import * as features from './tools.mjs';

await serve({ ...features });
