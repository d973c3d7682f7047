import { describe, expect, it } from 'vitest'
import { Controller, REQUESTS_MAX } from '../../controller/controller.ts'
import { MemoryStore } from './memory-store.ts'
import type { MetadataDelta } from '../../controller/metadata/image.ts'
import { openSingleVoterLog } from './single-voter-log.ts'
import { WAITERS_MAX } from '../../controller/version-waiters.ts'
import type { AllocateProducerIdsResponse } from '../../protocol/gen/tidemark/v1/controller.ts'
import { MetadataBatch } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { isUuid } from '../../protocol/ids.ts'
import {
  createRequest,
  HeldStore,
  idOf,
  nodeOf,
  openController,
  partsOf,
  requestOf,
  runOf,
  settle,
  startController,
  VirtualTimers,
} from './fixtures.ts'

function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  )
}

describe('openController', () => {
  it('names a new cluster, and keeps the name', async () => {
    const store = new MemoryStore()
    const first = await openController({ store, ...partsOf() })
    const { clusterId } = first.image
    expect(isUuid(clusterId)).toBe(true)
    await first.close()
    const second = await openController({ store, ...partsOf() })
    expect(second.image).toEqual(first.image)
    expect(await store.load()).toHaveLength(1)
    await second.close()
  })

  it('refuses metadata it does not understand, adds nothing to it and closes the store', async () => {
    const unknown = new HeldStore()
    await unknown.append(0, [Buffer.from([0x0a, 0x04, 0xa2, 0x06, 0x01, 0x00])])
    await expect(openController({ store: unknown, ...partsOf() })).rejects.toMatchObject({
      code: 'DATA_DIR_INVALID',
      message: expect.stringContaining('a newer version wrote this one'),
    })
    const newer = new HeldStore()
    await newer.append(0, [
      Buffer.from(
        MetadataBatch.encode({ records: [{ record: { $case: 'cluster', value: { clusterId: idOf(1), featureLevel: 99 } } }] }).finish(),
      ),
    ])
    await expect(openController({ store: newer, ...partsOf() })).rejects.toMatchObject({
      code: 'DATA_DIR_INVALID',
      message: expect.stringContaining('feature level 99'),
    })
    expect([unknown, newer].map(({ closeCount, appends }) => [closeCount, appends.length])).toEqual([
      [1, 1],
      [1, 1],
    ])
  })

  it('closes the store when a new cluster cannot be named', async () => {
    const store = new HeldStore()
    store.failure = new Error('the disk is full')
    await expect(openController({ store, ...partsOf() })).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
    expect(store.closeCount).toBe(1)
  })
})

describe('Controller', () => {
  it('answers once the change is committed and in the image', async () => {
    const store = new HeldStore()
    const controller = await startController(store)
    store.hold()
    let isAnswered = false
    const answer = controller.createTopics(createRequest('orders')).finally(() => {
      isAnswered = true
    })
    await settle()
    expect(isAnswered).toBe(false)
    expect(controller.image.topics.size).toBe(0)
    store.release()
    expect((await answer).topics).toMatchObject([{ name: 'orders', error: undefined, partitions: 2 }])
    expect(controller.image.topics.has('orders')).toBe(true)
    await controller.close()
  })

  it('decides each request with those before it in place', async () => {
    const controller = await startController()
    const answers = await Promise.all([
      controller.createTopics(createRequest('orders')),
      controller.createTopics(createRequest('orders')),
      controller.growTopics({ topics: [{ name: 'orders', partitions: 4 }], validateOnly: false }),
      controller.alterConfigs({
        resources: [{ resource: { scope: 0, name: 'orders' }, set: { 'retention.ms': '1h' }, reset: [] }],
        validateOnly: false,
      }),
      controller.deleteTopics({ names: ['orders'] }),
      controller.createTopics(createRequest('orders')),
    ])
    const codes = answers.map((answer) => ('topics' in answer ? answer.topics : answer.resources)[0]?.error?.code)
    expect(codes).toEqual([undefined, 'TOPIC_ALREADY_EXISTS', undefined, undefined, undefined, undefined])
    expect(controller.image.topics.get('orders')).toMatchObject({ configs: {}, partitions: [{}, {}] })
    await controller.close()
  })

  it('writes nothing for a request that changes nothing', async () => {
    const store = new HeldStore()
    const controller = await startController(store)
    const { version } = controller.image
    await controller.createTopics({ ...createRequest('orders'), validateOnly: true })
    await controller.deleteTopics({ names: ['unknown'] })
    expect([controller.image.version, store.appends.length]).toEqual([version, version])
    await controller.close()
  })

  it('tells listeners of every change, in order, before the answer, until they stop', async () => {
    const controller = await startController()
    const seen: string[] = []
    const note = (_image: unknown, { createdTopics, removedTopics }: MetadataDelta): void => {
      seen.push(...createdTopics.map(({ name }) => `+${name}`), ...removedTopics.map(({ name }) => `-${name}`))
    }
    const stop = controller.view.subscribe(note)
    await controller.createTopics(createRequest('a', 'b'))
    expect(seen).toEqual(['+a', '+b'])
    await controller.deleteTopics({ names: ['a'] })
    stop()
    await controller.createTopics(createRequest('c'))
    expect(seen).toEqual(['+a', '+b', '-a'])
    await controller.close()
  })

  it('never gives a producer id twice, not across restarts either', async () => {
    const store = new MemoryStore()
    const blocks: AllocateProducerIdsResponse[] = []
    for (let start = 0; start < 4; start++) {
      const controller = await startController(store)
      blocks.push(...(await Promise.all([1, 1, 1].map((nodeId) => controller.allocateProducerIds(runOf(controller.image, nodeId))))))
      await controller.close()
    }
    expect(blocks).toEqual(
      blocks.map((_, index) => ({ error: undefined, firstProducerId: index * 1000, nextProducerId: (index + 1) * 1000 })),
    )
  })

  it('refuses a registration with another data directory while the node is alive, and keeps the old one', async () => {
    const controller = await startController()
    await expect(controller.registerNode(requestOf(1, { directoryId: idOf(3) }))).rejects.toMatchObject({ code: 'DUPLICATE_NODE' })
    expect(controller.image.nodes.get(1)?.directoryId).toBe(nodeOf(1).directoryId)
    await controller.close()
  })

  it('goes on after a request that failed', async () => {
    const controller = await startController()
    await expect(controller.allocateProducerIds(runOf(controller.image, 9))).rejects.toMatchObject({ code: 'FENCED_NODE_EPOCH' })
    expect(await controller.allocateProducerIds(runOf(controller.image))).toMatchObject({ firstProducerId: 0, nextProducerId: 1000 })
    await controller.close()
  })

  it('does not let a contradictory decision reach the log', async () => {
    const store = new HeldStore()
    const log = await openSingleVoterLog(store)
    const parts = partsOf()
    // A generator that repeats itself makes two topics of one id.
    const controller = new Controller(log, {
      ...parts,
      runtime: { ...parts.runtime, random: { float: () => 0, bytes: (count) => Buffer.alloc(count, 1) } },
    })
    await controller.bootstrap()
    const { nodeEpoch } = await controller.registerNode(requestOf(1))
    await controller.heartbeat({ clusterId: '', nodeId: 1, nodeEpoch, metadataVersion: nodeEpoch, wantFence: false, wantShutdown: false })
    await controller.createTopics(createRequest('a'))
    const written = store.appends.length
    await expect(controller.createTopics(createRequest('b'))).rejects.toThrow('is given once')
    expect(store.appends).toHaveLength(written)
    await controller.deleteTopics({ names: ['a'] })
    expect(controller.image.topics.size).toBe(0)
    await controller.close()
  })

  it('refuses requests beyond its queue, and takes them again when it has caught up', async () => {
    const store = new HeldStore()
    const controller = await startController(store)
    store.hold()
    const waiting = Array.from({ length: REQUESTS_MAX }, () => controller.allocateProducerIds(runOf(controller.image)))
    await expect(controller.allocateProducerIds(runOf(controller.image))).rejects.toMatchObject({
      code: 'BUSY',
      retryAfterMs: expect.any(Number),
    })
    store.release()
    await Promise.all(waiting)
    await controller.allocateProducerIds(runOf(controller.image))
    await controller.close()
  })

  it('reports a store that fails, and refuses to work from then on', async () => {
    const store = new HeldStore()
    const controller = await startController(store)
    const before = controller.image
    store.failure = Object.assign(new Error('input/output error'), { code: 'EIO' })
    const first = failureOf(controller.createTopics(createRequest('a')))
    const second = failureOf(controller.createTopics(createRequest('b')))
    expect(await first).toMatchObject({ code: 'STORAGE_FAILED', outcome: 'indeterminate' })
    expect(await second).toMatchObject({ code: 'STORAGE_FAILED', outcome: 'failed' })
    expect((await controller.failed).message).toContain('input/output error')
    store.failure = undefined
    await expect(controller.allocateProducerIds(runOf(controller.image))).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
    expect(controller.image).toBe(before)
    await controller.close()
  })
})

describe('closing a controller', () => {
  it('finishes the request in hand, with the image, and refuses those behind it', async () => {
    const store = new HeldStore()
    const controller = await startController(store)
    store.hold()
    const inHand = controller.createTopics(createRequest('a'))
    const behind = failureOf(controller.createTopics(createRequest('b')))
    await settle()
    const closing = controller.close()
    const late = failureOf(controller.createTopics({ ...createRequest('c'), validateOnly: true }))
    store.release()
    expect((await inHand).topics[0]?.error).toBeUndefined()
    expect(await behind).toMatchObject({ code: 'SHUTTING_DOWN' })
    expect(await late).toMatchObject({ code: 'SHUTTING_DOWN' })
    await closing
    expect([...controller.image.topics.keys()]).toEqual(['a'])
  })

  it('happens once, however often it is asked for', async () => {
    const store = new HeldStore()
    const controller = await startController(store)
    await Promise.all([controller.close(), controller.close()])
    await controller.close()
    expect(store.closeCount).toBe(1)
    await expect(controller.allocateProducerIds(runOf(controller.image))).rejects.toMatchObject({ code: 'SHUTTING_DOWN' })
  })

  it('works after the store has failed', async () => {
    const store = new HeldStore()
    const controller = await startController(store)
    store.failure = new Error('gone')
    await failureOf(controller.allocateProducerIds(runOf(controller.image)))
    await controller.close()
    expect(store.closeCount).toBe(1)
  })

  it('lets go of those who wait for newer metadata', async () => {
    const timers = new VirtualTimers()
    const controller = await startController(new MemoryStore(), timers)
    const waiting = controller.view.waitForVersion(controller.image.version, { timeoutMs: 1000 })
    await controller.close()
    await waiting
    expect(timers.count).toBe(0)
    await controller.view.waitForVersion(1000, { timeoutMs: 1000 })
  })
})

describe('waiting for newer metadata', () => {
  async function start() {
    const timers = new VirtualTimers()
    const controller = await startController(new MemoryStore(), timers)
    const settled: string[] = []
    const wait = (name: string, version: number, signal?: AbortSignal): Promise<void> =>
      controller.view
        .waitForVersion(version, signal === undefined ? { timeoutMs: 1000 } : { timeoutMs: 1000, signal })
        .then(() => void settled.push(name))
    return { timers, controller, settled, wait, now: controller.image.version }
  }

  it('is over at once when there is newer metadata, or no time', async () => {
    const { controller, timers, now } = await start()
    await controller.view.waitForVersion(now - 1, { timeoutMs: 1000 })
    await controller.view.waitForVersion(now, { timeoutMs: 0 })
    await controller.view.waitForVersion(now, { timeoutMs: 1000, signal: AbortSignal.abort() })
    expect(timers.count).toBe(0)
    await controller.close()
  })

  it('wakes exactly those for whom the change is new, and leaves no timer behind', async () => {
    const { controller, timers, settled, wait, now } = await start()
    const woken = wait('this change', now)
    const patient = wait('the one after', now + 1)
    await controller.createTopics(createRequest('a'))
    await woken
    expect(settled).toEqual(['this change'])
    await controller.createTopics(createRequest('b'))
    await patient
    expect(timers.count).toBe(0)
    await controller.close()
  })

  it('ends when its time is over, not before', async () => {
    const { controller, timers, settled, wait, now } = await start()
    const waiting = wait('late', now)
    timers.advance(999)
    await settle()
    expect(settled).toEqual([])
    timers.advance(1)
    await waiting
    await controller.close()
  })

  it('ends when its signal aborts, and leaves no timer behind', async () => {
    const { controller, timers, wait, now } = await start()
    const abort = new AbortController()
    const waiting = wait('aborted', now, abort.signal)
    expect(timers.count).toBe(1)
    abort.abort()
    await waiting
    expect(timers.count).toBe(0)
    await controller.close()
  })

  it('is refused when too many wait', async () => {
    const { controller, timers, wait, now } = await start()
    const waiting = Array.from({ length: WAITERS_MAX }, (_, index) => wait(`${index}`, now))
    await settle()
    await expect(controller.view.waitForVersion(now, { timeoutMs: 1000 })).rejects.toMatchObject({ code: 'BUSY' })
    timers.advance(1000)
    await Promise.all(waiting)
    await controller.close()
  })
})
