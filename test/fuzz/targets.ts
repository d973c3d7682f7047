/** Every target, in the order of the table. */
import type { Target } from './target.ts'
import { batchTargets, compressionTargets } from './targets/batches.ts'
import { connectionTargets } from './targets/connection.ts'
import { fileTargets } from './targets/files.ts'
import { stateTargets } from './targets/metadata.ts'
import { replicaTargets } from './targets/replicas.ts'
import { rpcTargets } from './targets/rpc.ts'
import { textTargets } from './targets/texts.ts'

export const targets: readonly Target[] = [
  ...batchTargets,
  ...compressionTargets,
  ...fileTargets,
  ...stateTargets,
  ...textTargets,
  ...replicaTargets,
  ...rpcTargets,
  ...connectionTargets,
]
