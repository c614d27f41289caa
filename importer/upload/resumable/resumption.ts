/** Tells the controller what another pod could go on with; 204 if there is nothing. */
import { resumptionPath, uploadProxyClientName } from '../../../src/api/upload-env.ts'
import type { Protocol } from '../context.ts'
import type { Uploads } from './uploads.ts'

export function resumptionProtocol({ uploads }: { uploads: Uploads }): Protocol {
  return {
    serves: (path) => path === resumptionPath,
    // The controller comes with the proxy's certificate, also to the target of a clone, whose client is another one.
    alsoFor: uploadProxyClientName,
    async handle(exchange) {
      if (exchange.method !== 'GET') {
        await exchange.answer({ status: 405, headers: { allow: 'GET' } })
        return
      }
      const { resumption } = uploads
      const headers = { 'content-type': 'application/json', 'cache-control': 'no-store' }
      await exchange.answer(
        resumption === undefined ? { status: 204 } : { status: 200, text: JSON.stringify(resumption), headers },
      )
    },
  }
}
