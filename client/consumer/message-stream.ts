/** Messages as a web stream: nothing is read before somebody asks for it. */
export function streamOf<T>(messages: AsyncGenerator<T, void, undefined>, close: () => Promise<void>): ReadableStream<T> {
  return new ReadableStream<T>(
    {
      async pull(controller) {
        const { done, value } = await messages.next()
        if (done === true) controller.close()
        else controller.enqueue(value)
      },
      async cancel() {
        await Promise.all([messages.return(), close()])
      },
    },
    { highWaterMark: 0 },
  )
}
