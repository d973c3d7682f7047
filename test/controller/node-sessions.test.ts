import { describe, expect, it } from 'vitest'
import { NodeSessions } from '../../controller/node-sessions.ts'
import { clusterOf } from './fixtures.ts'

const TIMEOUT_MS = 1000

function start(lastLeaderId = -1) {
  let nowMs = 0
  const image = clusterOf(3)
  const sessions = new NodeSessions({ now: () => 0, monotonic: () => nowMs }, TIMEOUT_MS)
  sessions.restart(image, lastLeaderId)
  return { image, sessions, at: (ms: number) => void (nowMs = ms) }
}

describe('sessions', () => {
  it('end when a node was silent for their length, and begin anew with every word', () => {
    const { image, sessions, at } = start()
    at(900)
    sessions.heard(1, 2, 5)
    at(1001)
    expect(sessions.expired(image)).toEqual([2, 3])
    at(1901)
    expect(sessions.expired(image)).toEqual([1, 2, 3])
  })

  it('are whole with a new active controller, and half for the one before', () => {
    const { image, sessions, at } = start(2)
    at(501)
    expect(sessions.expired(image)).toEqual([2])
    at(1000)
    expect(sessions.expired(image)).toEqual([2])
  })

  it('know who has applied what', () => {
    const { image, sessions } = start()
    sessions.heard(1, 2, 10)
    sessions.heard(2, 3, 9)
    sessions.heard(3, 4, 12)
    expect([9, 10, 12].map((version) => sessions.othersReached(image, 3, version))).toEqual([true, false, false])
    expect(sessions.othersReached(image, 2, 10)).toBe(true)
  })
})
