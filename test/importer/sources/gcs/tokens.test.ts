import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import { systemClock } from '../../../../importer/sources/clock.ts'
import { parseGoogleCredentials } from '../../../../importer/sources/gcs/credentials.ts'
import { AccessTokens } from '../../../../importer/sources/gcs/tokens.ts'
import { silentLog } from '../../../../src/log.ts'

describe('an access token that does not come', () => {
  it('is waited for by each stream as long as that stream itself', { timeout: 20_000 }, async () => {
    const asked = Promise.withResolvers<void>()
    const server = createServer(() => asked.resolve())
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const user = { type: 'authorized_user', client_id: 'id', client_secret: 'secret', refresh_token: 'token' }
    const tokens = new AccessTokens({
      credentials: parseGoogleCredentials(JSON.stringify({ ...user, token_uri: `http://127.0.0.1:${port}/token` })),
      access: { ca: [], insecureSkipVerify: false, proxy: {} },
      log: silentLog(),
      clock: systemClock,
      timeOfDay: Date.now,
    })
    const [first, second] = [new AbortController(), new AbortController()]
    const firstWaits = assert.rejects(tokens.token(first.signal), /first/)
    await asked.promise
    const secondWaits = assert.rejects(tokens.token(second.signal), /second/)
    second.abort(new Error('the second has gone'))
    await secondWaits
    first.abort(new Error('the first has gone'))
    await firstWaits
    server.closeAllConnections()
    server.close()
  })
})
