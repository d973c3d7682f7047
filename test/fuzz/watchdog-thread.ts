/** The thread behind `Watchdog`. */
import { writeSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'

const { state, again, patienceMs, pid } = workerData as {
  readonly state: Int32Array
  readonly again: string
  readonly patienceMs: number
  readonly pid: number
}

let seen = -1
setInterval(() => {
  const changes = Atomics.load(state, 1)
  if (changes === seen) {
    writeSync(
      2,
      `\nFOUND: execution ${Atomics.load(state, 0)} has no end after ${patienceMs} ms\nagain: ${again.replace('{at}', String(Atomics.load(state, 0)))}\n`,
    )
    process.kill(pid, 'SIGKILL')
  }
  seen = changes
}, patienceMs)
parentPort?.postMessage('watching')
