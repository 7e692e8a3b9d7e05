// A server of 2026-07-28 on the official SDK 2.x, and of nothing older.

import { serve } from '../../conformance/serve-modern.mjs';
import * as features from './tools.mjs';

await serve({ ...features });
