/** Tells a cloner what it has to know before it sends anything. */
import { stat } from 'node:fs/promises'
import { RequestRefusal } from '../answers.ts'
import type { Protocol, UploadContext } from '../context.ts'
import { cloneTargetPath } from './wire.ts'
import type { CloneTargetFacts } from './wire.ts'

export function cloneTargetProtocol({ context }: { context: UploadContext }): Protocol {
  return {
    serves: (path) => path === cloneTargetPath,
    async handle(exchange) {
      if (exchange.method !== 'GET') throw new RequestRefusal(405, 'the method is GET')
      await exchange.answer({
        status: 200,
        text: JSON.stringify(await factsOf(context)),
        headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
      })
    },
  }
}

async function factsOf({ slot, volumes }: UploadContext): Promise<CloneTargetFacts> {
  const facts = await stat(volumes.archive.targetPath)
  const kind = facts.isBlockDevice() ? 'block' : 'filesystem'
  if (slot.state !== 'done') return { kind, isDone: false }
  const { preallocationApplied } = await slot.done
  return { kind, isDone: true, preallocationApplied }
}
