// A server of both eras on the official SDK 2.x: its client's first request decides, for the life of the process.

import { serve } from '../../conformance/serve-modern.mjs';
import * as features from './tools.mjs';

await serve({ ...features }, { legacy: 'serve' });
