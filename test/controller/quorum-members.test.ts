/** On which disks the controllers vote. */
import { describe, expect, it } from 'vitest'
import { QuorumMembers } from '../../controller/quorum-members.ts'
import { idOf } from './fixtures.ts'
import { voter } from './quorum-fixtures.ts'

const nothing = new Uint8Array(0)

describe('R-id the members of a quorum', () => {
  it('speak from the disk they were let in with, and from no other', () => {
    const members = new QuorumMembers(new Map(), [], voter(1))
    members.replaceAll([voter(1), voter(2)])
    expect(members.admits(2, idOf(2002))).toBe(true)
    expect(members.admits(2, idOf(9))).toBe(false)
    expect(members.admits(2, idOf(2002))).toBe(true)
    expect(members.takeNews(), 'there was nothing to be learned').toBe(false)
  })

  it('speak from the disk they are first heard of on, where none was named, and that is remembered', () => {
    const members = new QuorumMembers(new Map(), [], voter(1))
    members.replaceAll([voter(1), voter(2, '')])
    expect(members.admits(2, idOf(9))).toBe(true)
    expect(members.takeNews()).toBe(true)
    expect(members.admits(2, idOf(2002))).toBe(false)
    expect(new QuorumMembers(members.directories, [], voter(1)).admits(2, idOf(2002)), 'after a restart').toBe(false)
  })

  it('may come with another disk once they were removed', () => {
    const members = new QuorumMembers(new Map(), [], voter(1))
    members.replaceAll([voter(1), voter(2, '')])
    members.admits(2, idOf(2002))
    members.apply({ type: 'remove', nodeId: 2, context: nothing })
    expect(members.directoryOf(2)).toBe('')
    expect(members.admits(2, idOf(9))).toBe(true)
  })
})
