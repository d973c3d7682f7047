import { beforeAll, describe, expect, it } from 'vitest'
import { ImageTopics } from '../../../broker/groups/image-topics.ts'
import { TopicPatterns } from '../../../broker/groups/topic-patterns.ts'
import { applyRecords, clusterOf, idOf } from '../../controller/fixtures.ts'

const patterns = new TopicPatterns()
beforeAll(() => patterns.load())

const refused = expect.objectContaining({ code: 'INVALID_REGULAR_EXPRESSION' })

describe('a pattern of topics', () => {
  it.each([
    ['orders-.*', 'orders-de', true],
    ['orders-.*', 'my-orders-de', false],
    ['orders-.*', 'orders', false],
    ['orders|payments', 'payments', true],
    ['(?i)ORDERS', 'orders', true],
    ['orders', 'orders-de', false],
  ])('%s against %s', (pattern, name, isMatch) => {
    expect(patterns.matches(pattern, name)).toBe(isMatch)
    expect(patterns.matches(pattern, name)).toBe(isMatch)
  })

  it.each(['(', 'a(?=b)', '\\1', 'x'.repeat(257), '(?:.?){999}'])('that cannot be used is refused: %s', (pattern) => {
    expect(() => patterns.check(pattern)).toThrow(refused)
  })

  it('that makes others go back and forth takes no longer for it', () => {
    // A backtracking engine would need more than 2^200 steps here.
    expect(patterns.matches('(a+)+b', 'a'.repeat(249))).toBe(false)
    expect(patterns.matches('(a|a)*c', 'a'.repeat(249))).toBe(false)
  })

  it('never finds internal topics', () => {
    const { image } = applyRecords(
      clusterOf(1),
      { record: { $case: 'topic', value: { name: 'orders', topicId: idOf(1), internal: false } } },
      { record: { $case: 'topic', value: { name: '__consumer_offsets', topicId: idOf(2), internal: true } } },
    )
    expect(new ImageTopics(image, patterns).matching('.*').map(({ name }) => name)).toEqual(['orders'])
  })
})
