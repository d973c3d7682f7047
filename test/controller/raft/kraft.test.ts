/**
 * The scenarios of Apache Kafka's simulation of its quorum (`RaftEventSimulationTest`), each from many seeds. A failure names its seed:
 * `TIDEMARK_TEST_SEED=17 npm test -- test/controller/raft/kraft.test.ts` runs that one alone.
 */
import { describe, expect, it } from 'vitest'
import { TimedCluster } from './timed-cluster.ts'

const RUNS = Number(process.env.TIDEMARK_TEST_RUNS ?? 100)
const ONLY = process.env.TIDEMARK_TEST_SEED

const seeds = ONLY === undefined ? Array.from({ length: RUNS }, (_, at) => at + 1) : [Number(ONLY)]

/** Runs a scenario from every seed, with 3 or 5 voters. */
function fromAllSeeds(scenario: (cluster: TimedCluster, voters: number) => void, sizes: readonly number[] = [3, 5]): void {
  for (const seed of seeds) {
    const voters = sizes[seed % sizes.length] as number
    try {
      scenario(new TimedCluster(seed, voters), voters)
    } catch (error) {
      throw new Error(`seed ${seed}, ${voters} voters`, { cause: error })
    }
  }
}

function others(voters: number, id: number): number[] {
  return Array.from({ length: voters }, (_, at) => at + 1).filter((other) => other !== id)
}

describe(`R-kraft a quorum, ${seeds.length} seeds each`, () => {
  it('canElectInitialLeader: one leads, and entries are committed', () => {
    fromAllSeeds(
      (cluster) => {
        cluster.runUntilLeader()
        cluster.runUntilProgress()
      },
      [1, 2, 3, 4, 5],
    )
  })

  for (const [how, stop] of [
    ['killed', (cluster: TimedCluster, id: number) => cluster.kill(id)],
    ['shut down', (cluster: TimedCluster, id: number) => cluster.shutDown(id)],
  ] as const)
    it(`canElectNewLeaderAfterOldLeaderFailure: another leads when the leader is ${how}, and the old one follows when it is back`, () => {
      fromAllSeeds((cluster) => {
        const first = cluster.runUntilLeader()
        cluster.runUntilProgress()
        stop(cluster, first)
        cluster.runUntilLeader((id) => id !== first)
        cluster.runUntilProgress()
        cluster.start(first)
        cluster.runUntilProgress()
      })
    })

  it('canRecoverAfterAllNodesKilled: what was not written is lost, what was committed is not, and a majority goes on', () => {
    fromAllSeeds((cluster, voters) => {
      cluster.runUntilLeader()
      cluster.runUntilProgress()
      for (const { id } of cluster.nodes) cluster.kill(id)
      for (let id = 1; id <= Math.floor(voters / 2) + 1; id++) cluster.start(id)
      cluster.runUntilLeader()
      cluster.runUntilProgress()
    })
  })

  it('canElectNewLeaderAfterOldLeaderPartitionedAway: the others elect, and the old leader follows when it is back', () => {
    fromAllSeeds((cluster, voters) => {
      const first = cluster.runUntilLeader()
      cluster.runUntilProgress()
      cluster.part([first], others(voters, first))
      cluster.runUntilLeader((id) => id !== first)
      cluster.runUntilProgress()
      cluster.part()
      cluster.runUntilProgress()
    })
  })

  it('canMakeProgressIfMajorityIsReachable: a minority that is cut off, the leader in it or not, catches up', () => {
    fromAllSeeds((cluster, voters) => {
      cluster.runUntilLeader()
      cluster.runUntilProgress()
      const minority = Math.floor((voters - 1) / 2)
      const ids = Array.from({ length: voters }, (_, at) => at + 1)
      cluster.part(ids.slice(0, minority), ids.slice(minority))
      cluster.runUntilLeader((id) => id > minority)
      cluster.runUntilProgress(50)
      cluster.part()
      cluster.runUntilProgress()
    })
  })

  it('canMakeProgressAfterBackToBackLeaderFailures: one leader after the other is killed and started again', () => {
    fromAllSeeds((cluster) => {
      for (let failure = 0; failure < 5; failure++) {
        const leader = cluster.runUntilLeader()
        cluster.runUntilProgress(3)
        cluster.kill(leader)
        cluster.runUntilLeader((id) => id !== leader)
        cluster.start(leader)
      }
      cluster.runUntilProgress()
    })
  })

  it('canRecoverFromSingleNodeCommittedDataLoss: a node whose disk is lost once another leads gets everything again', () => {
    fromAllSeeds((cluster) => {
      const first = cluster.runUntilLeader()
      cluster.runUntilProgress(30)
      cluster.kill(first)
      cluster.runUntilLeader((id) => id !== first)
      cluster.runUntilProgress()
      cluster.wipe(first)
      cluster.start(first)
      cluster.runUntilProgress()
      const [one, ...rest] = cluster.nodes.map(({ applied }) => applied)
      for (const applied of rest) expect(applied.slice(0, 40)).toEqual(one?.slice(0, 40))
    })
  })
})
