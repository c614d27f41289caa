/** Answers that are read as a whole: tokens, and what token services say. */
import { CdiError } from '../../../src/errors.ts'
import type { ClientResponse } from './client.ts'

/** The body of an answer. Throws CDI_SOURCE_STATUS if it is longer than `longestBytes`, or what the body throws. */
export async function readAnswer(answer: ClientResponse, longestBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  await answer.body((chunk) => {
    bytes += chunk.length
    if (bytes > longestBytes) {
      throw new CdiError('CDI_SOURCE_STATUS', `the answer is longer than ${longestBytes} bytes`, {
        details: { status: answer.status },
      })
    }
    chunks.push(Buffer.from(chunk))
  })
  return Buffer.concat(chunks)
}
