/** A cluster without an active controller still tells what it knew last, which may have changed since. */
import type { ClusterDescription } from '../client/index.ts'
import { note } from './output.ts'

export function noteIfUnled({ controllerId }: ClusterDescription): void {
  if (controllerId < 0) note('there is no active controller: this is what was known last, and who is shown alive may not be')
}
