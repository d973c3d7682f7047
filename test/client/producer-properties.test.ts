/**
 * Random faults against the real producer over real sockets. Whatever happens on the way, in the end:
 *
 * - every acknowledged record is in the log exactly once, at the offset its receipt names;
 * - no record that `failed` is there; one that is `indeterminate` is there at most once;
 * - what is there of a partition lies in the order in which it was sent.
 */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Receipt, Tidemark } from '../../client/index.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { FakeBroker, type ProduceAttempt, type ProduceFault } from './fake-broker.ts'
import { asTidemarkError, clientOf } from './support.ts'

const TOPIC = 't'
const PARTITIONS = 3

/** What happens to one produce request. */
type Step =
  | 'fine'
  | 'drop before'
  | 'drop after'
  | 'hang before'
  | 'hang after'
  | 'late'
  | 'busy'
  | 'too large'
  | 'move leader'
  | 'lie'
  | 'cut'

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Step>('fine') },
  { weight: 6, arbitrary: fc.constantFrom<Step>('drop before', 'drop after', 'late', 'busy', 'too large', 'move leader', 'cut') },
  { weight: 1, arbitrary: fc.constantFrom<Step>('hang before', 'hang after', 'lie') },
)

interface Sent {
  readonly value: string
  readonly partition: number
  readonly outcome: Promise<Receipt | TidemarkError>
}

/** Plays the steps, one per request, then lets everything pass. */
function play(broker: FakeBroker, steps: readonly Step[]): void {
  let at = 0
  let refusal: { readonly attempt: ProduceAttempt; readonly error: TidemarkError } | undefined
  /** Batches that were tried before: a node does not find them too large later on. */
  const tried = new Set<string>()
  const keyOf = ({ producerId, partition, baseSequence }: ProduceAttempt): string => `${producerId} ${partition} ${baseSequence}`
  const refuse = (attempt: ProduceAttempt | undefined, error: TidemarkError): void => {
    if (attempt !== undefined) refusal = { attempt, error }
  }
  broker.refuse = (attempt) => {
    const { partition, baseSequence, producerId } = attempt
    const hit = refusal?.attempt
    return hit?.partition === partition && hit.baseSequence === baseSequence && hit.producerId === producerId ? refusal?.error : undefined
  }
  const fault = (current: Step | undefined, attempts: readonly ProduceAttempt[]): ProduceFault | undefined => {
    switch (current) {
      case 'drop before':
        return { drop: 'before' }
      case 'drop after':
        return { drop: 'after' }
      case 'hang before':
        return { hang: 'before' }
      case 'hang after':
        return { hang: 'after' }
      case 'late':
        return { until: new Promise((resolve) => setTimeout(resolve, 5)) }
      case 'lie':
        return { lie: new TidemarkError('INTERNAL', 'it went wrong, after writing') }
      case 'cut':
        setImmediate(() => broker.cut())
        return undefined
      case 'busy':
        refuse(attempts[0], new TidemarkError('BUSY', undefined, { retryAfterMs: 10 }))
        return undefined
      case 'too large':
        refuse(
          attempts.find((attempt) => !tried.has(keyOf(attempt))),
          new TidemarkError('RECORD_TOO_LARGE'),
        )
        return undefined
      case 'move leader':
        broker.moveLeader(TOPIC, attempts[0]?.partition ?? 0, 1 - (attempts[0]?.node ?? 0))
        return undefined
      default:
        return undefined
    }
  }
  broker.produceFault = (attempts) => {
    refusal = undefined
    const current = fault(steps[at++], attempts)
    for (const attempt of attempts) tried.add(keyOf(attempt))
    return current
  }
}

async function sendAll(tm: Tidemark, bursts: readonly number[]): Promise<Sent[]> {
  const producer = tm.producer({ batchBytes: 150, requestTimeout: '1s', deliveryTimeout: '5m' })
  const sent: Sent[] = []
  for (const count of bursts) {
    for (let n = 0; n < count; n++) {
      const value = `v${sent.length}`
      const partition = sent.length % PARTITIONS
      const outcome = producer.send(TOPIC, { value, partition }).catch(asTidemarkError)
      sent.push({ value, partition, outcome })
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all(sent.map(({ outcome }) => outcome))
  return sent
}

async function expectKept(broker: FakeBroker, sent: readonly Sent[]): Promise<void> {
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const records = await broker.records(TOPIC, partition)
    const values = records.map((record) => String(record.value))
    const own = sent.filter((one) => one.partition === partition)
    expect(records.map(({ offset }) => offset)).toEqual(records.map((_, index) => index))
    for (const { value, outcome } of own) {
      const told = await outcome
      const copies = values.filter((one) => one === value).length
      if (!TidemarkError.is(told)) expect([copies, values[Number(told.offset)]], 'acknowledged').toEqual([1, value])
      else if (told.outcome === 'failed') expect(copies, `${value} failed with ${told.code}`).toBe(0)
      else expect([told.outcome, copies <= 1]).toEqual(['indeterminate', true])
    }
    expect(values).toEqual(own.map(({ value }) => value).filter((value) => values.includes(value)))
  }
}

it('keeps what it promises under any faults', async () => {
  const bursts = fc.array(fc.integer({ min: 1, max: 25 }), { minLength: 1, maxLength: 6 })
  await fc.assert(
    fc.asyncProperty(bursts, fc.array(step, { maxLength: 14 }), async (counts, steps) => {
      await using broker = await FakeBroker.start(2)
      broker.createTopic(TOPIC, PARTITIONS)
      play(broker, steps)
      await using tm = clientOf(broker, { speed: 40 })
      await expectKept(broker, await sendAll(tm, counts))
    }),
    { numRuns: 40 },
  )
}, 60_000)
