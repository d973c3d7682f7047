import { expect, it } from 'vitest'
import { frameOf } from '../../protocol/grpc-frame.ts'
import { ScatterMessage } from '../../protocol/scatter-message.ts'

it('a frame holds large pieces themselves and joins small ones', () => {
  const large = Buffer.alloc(5000, 'l')
  const message = new ScatterMessage([Buffer.from('ab'), Buffer.alloc(0), large, Buffer.from('c'), Buffer.from('d')])
  const [head, middle, tail, ...rest] = frameOf(message)
  expect([head, tail]).toEqual([Buffer.from('000000138c6162', 'hex'), Buffer.from('cd')])
  expect(middle?.buffer).toBe(large.buffer)
  expect(middle).toEqual(large)
  expect(rest).toEqual([])
})

it('a message without pieces has a frame', () => {
  expect(frameOf(new ScatterMessage([]))).toEqual([Buffer.alloc(5)])
})
