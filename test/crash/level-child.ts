/** A quorum's store at work in a process of its own, whose calls to the kernel somebody writes down: what is acknowledged it notes in a file, so that it stands between them. */
import { openSync, writeSync } from 'node:fs'
import { openLevelRaftStore } from '../../controller/level-raft-store.ts'
import { nodeFiles } from '../../runtime/node-files.ts'
import { streamOf } from '../../scripts/random.ts'
import { QuorumAtWork } from './quorum-at-work.ts'

const [path, notes, seed, sessions, steps] = process.argv.slice(2) as [string, string, string, string, string]
const note = openSync(notes, 'a')
const work = new QuorumAtWork(streamOf(Number(seed), 'quorum'))
for (let session = 0; session < Number(sessions); session++) {
  const store = await openLevelRaftStore(path, nodeFiles)
  await store.load()
  for (let step = 0; step < Number(steps); step++) {
    await work.step(store)
    writeSync(note, `${work.text}\n`)
  }
  await store.close()
}
