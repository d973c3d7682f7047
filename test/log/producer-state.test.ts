import { describe, expect, it } from 'vitest'
import { crc32c } from '../../protocol/crc32c.ts'
import { DUPLICATE_WINDOW } from '../../protocol/ids.ts'
import { PRODUCER_EXPIRY_MS, PRODUCERS_MAX, ProducerState } from '../../log/producer-state.ts'

const INT31_MAX = 0x7fffffff

/** A state and the offset it has come to. */
function createRig() {
  const state = new ProducerState()
  let offset = 0
  const append = (baseSequence: number, recordCount = 1, epoch = 0, producerId = 7, nowMs = 0) => {
    const batch = { producerId, epoch, baseSequence, recordCount }
    const seen = state.check(batch)
    if (seen !== undefined) return seen
    state.update(batch, offset, nowMs, offset)
    offset += recordCount
    return undefined
  }
  return { state, append }
}

describe('the state of idempotent producers', () => {
  it('takes the next sequence and refuses a gap or a step back', () => {
    const { append } = createRig()
    append(0, 3)
    append(3, 2)
    expect(() => append(6)).toThrow(expect.objectContaining({ code: 'OUT_OF_ORDER_SEQUENCE', outcome: 'failed' }))
    expect(() => append(4)).toThrow(expect.objectContaining({ code: 'OUT_OF_ORDER_SEQUENCE' }))
    expect(append(5)).toBeUndefined()
  })

  it('answers each batch of its window with its offsets, and no older one', () => {
    const { append } = createRig()
    for (let i = 0; i <= DUPLICATE_WINDOW; i++) append(i * 2, 2)
    for (let i = 1; i <= DUPLICATE_WINDOW; i++) expect(append(i * 2, 2)).toMatchObject({ baseOffset: i * 2, lastOffset: i * 2 + 1 })
    expect(() => append(0, 2)).toThrow(expect.objectContaining({ code: 'OUT_OF_ORDER_SEQUENCE' }))
    expect(() => append(2, 1)).toThrow(expect.objectContaining({ code: 'OUT_OF_ORDER_SEQUENCE' }))
  })

  it('counts modulo 2^31, within a batch and between two', () => {
    const { append } = createRig()
    append(INT31_MAX - 1, 2)
    append(0, 1)
    expect(append(INT31_MAX - 1, 2)).toMatchObject({ baseOffset: 0 })
    const within = createRig()
    within.append(INT31_MAX, 3)
    expect(within.append(2)).toBeUndefined()
    expect(within.append(INT31_MAX, 3)).toMatchObject({ baseOffset: 0, lastOffset: 2 })
  })

  it('takes a new epoch from sequence 0 only, and then refuses the old one', () => {
    const { append } = createRig()
    append(0)
    expect(() => append(1, 1, 1)).toThrow(expect.objectContaining({ code: 'OUT_OF_ORDER_SEQUENCE' }))
    expect(append(0, 1, 1)).toBeUndefined()
    expect(() => append(1, 1, 0)).toThrow(expect.objectContaining({ code: 'INVALID_PRODUCER_EPOCH' }))
    expect(append(0, 1, 1)).toMatchObject({ baseOffset: 1 })
  })

  it('takes any sequence of a producer it does not know', () => {
    const { append, state } = createRig()
    expect(append(500)).toBeUndefined()
    state.expire(PRODUCER_EXPIRY_MS)
    expect(state.producerCount).toBe(1)
    state.expire(PRODUCER_EXPIRY_MS + 1)
    expect(state.producerCount).toBe(0)
    expect(append(9)).toBeUndefined()
  })

  it('forgets the one silent for longest when there are too many', () => {
    const { append, state } = createRig()
    for (let id = 0; id < PRODUCERS_MAX; id++) append(0, 1, 0, id)
    append(1, 1, 0, 0)
    append(0, 1, 0, PRODUCERS_MAX)
    expect(state.producerCount).toBe(PRODUCERS_MAX)
    expect(append(0, 1, 0, 0)).toMatchObject({ baseOffset: 0 })
    expect(append(700, 1, 0, 1)).toBeUndefined()
  })

  it('takes back what was not written, with the window as it was before', () => {
    const state = new ProducerState()
    for (let i = 0; i < 12; i++) state.update({ producerId: 7, epoch: 0, baseSequence: i, recordCount: 1 }, i, 0, Math.min(i, 6))
    state.truncate(6)
    for (let i = 1; i < 6; i++)
      expect(state.check({ producerId: 7, epoch: 0, baseSequence: i, recordCount: 1 })).toMatchObject({ baseOffset: i })
    expect(state.check({ producerId: 7, epoch: 0, baseSequence: 6, recordCount: 1 })).toBeUndefined()
    state.truncate(0)
    expect(state.producerCount).toBe(0)
  })

  it('has these bytes in a snapshot, which leaves out what lies at or beyond its offset', () => {
    const { state, append } = createRig()
    append(3, 2, 1, 0x0102, 0x0a0b)
    append(5, 1, 1, 0x0102, 0x0a0c)
    append(0, 1, 0, 9, 5)
    const bytes =
      '00000001' +
      '0000000000000102' +
      '0000000000000a0c' +
      '00000001' +
      '0001' +
      '00000003' +
      '00000004' +
      '0000000000000000' +
      '0000000000000001'
    const snapshot = state.serialize(2)
    expect(snapshot.toString('hex')).toBe(`0002${snapshot.subarray(2, 6).toString('hex')}${bytes}`)
    const back = ProducerState.parse(snapshot)
    expect(back?.check({ producerId: 0x0102, epoch: 1, baseSequence: 3, recordCount: 2 })).toMatchObject({ baseOffset: 0, lastOffset: 1 })
    expect(back?.serialize(2)).toEqual(snapshot)
  })

  it.each([10, 18, 40, 48])('takes no snapshot with more than a number can hold, at byte %i', (at) => {
    const { state, append } = createRig()
    append(0, 3)
    const snapshot = state.serialize(3)
    snapshot.writeBigInt64BE(2n ** 63n - 1n, at)
    snapshot.writeUInt32BE(crc32c(snapshot, 6), 2)
    expect(ProducerState.parse(snapshot)).toBeUndefined()
  })

  it('takes no snapshot that is cut, longer, changed in any bit, or of another version', () => {
    const { state, append } = createRig()
    append(0, 3)
    const snapshot = state.serialize(3)
    expect(ProducerState.parse(snapshot)).toBeDefined()
    for (let length = 0; length < snapshot.length; length++) expect(ProducerState.parse(snapshot.subarray(0, length))).toBeUndefined()
    expect(ProducerState.parse(Buffer.concat([snapshot, Buffer.alloc(1)]))).toBeUndefined()
    for (let bit = 0; bit < snapshot.length * 8; bit++) {
      const changed = Buffer.from(snapshot)
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(ProducerState.parse(changed)).toBeUndefined()
    }
  })
})
