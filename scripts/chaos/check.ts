/**
 * Checks the histories of a run again, without a cluster.
 *
 *   npm run chaos:check <directory>
 */
import { resolve } from 'node:path'
import { judge, print } from './report.ts'

const [directory] = process.argv.slice(2)
if (directory === undefined) throw new Error('which directory? `npm run chaos` prints it')
const result = judge(resolve(directory), { checkedAt: new Date().toISOString() })
print(result, new Map())
if (result.checked.anomalies.length > 0) process.exitCode = 1
