import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type Piece, Watermark } from '../../../client/group/watermark.ts'

const piece = (nextOffset: number): Piece => ({ nextOffset, leaderEpoch: nextOffset, isFinished: false })

it('the watermark stands below the first piece of work that is not finished, whatever the order in which they end', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 1000 }), { maxLength: 60 }), fc.integer({ min: 0, max: 100 }), (choices, start) => {
      const watermark = new Watermark(start)
      const pieces: Piece[] = []
      for (const choice of choices) {
        const open = pieces.filter(({ isFinished }) => !isFinished)
        const chosen = open[choice % Math.max(1, open.length)]
        if (choice % 2 === 0 || chosen === undefined) {
          pieces.push(piece((pieces.at(-1)?.nextOffset ?? start) + 1 + (choice % 3)))
          watermark.add(pieces.at(-1) as Piece)
        } else watermark.finish(chosen)
        const firstOpen = pieces.findIndex(({ isFinished }) => !isFinished)
        const last = pieces[(firstOpen < 0 ? pieces.length : firstOpen) - 1]
        expect([watermark.low, watermark.leaderEpoch]).toEqual([last?.nextOffset ?? start, last?.leaderEpoch ?? -1])
      }
    }),
  )
})
