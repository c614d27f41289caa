import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { UploadTokens } from '../../../../src/cli/upload/token.ts'
import { ConnectionError } from '../../../../src/kube/client.ts'
import { TestClock } from '../../../../src/kube/clock.ts'

type Given = { status: number; body: unknown } | Error

const signal = new AbortController().signal

function tokensOf(answers: (Given | undefined)[]) {
  const clock = new TestClock()
  const asked: { path: string; body: unknown }[] = []
  let made = 0
  const tokens = new UploadTokens({
    clock,
    namespace: 'ns',
    pvcName: 'disk',
    client: {
      raw: (_method, path, body) => {
        asked.push({ path, body })
        const given = answers.shift()
        if (given instanceof Error) return Promise.reject(given)
        if (given !== undefined) return Promise.resolve({ headers: {}, ...given })
        made += 1
        return Promise.resolve({ headers: {}, status: 200, body: { status: { token: `token-${made}` } } })
      },
    },
  })
  return { clock, asked, tokens }
}

describe('upload tokens', () => {
  it('are asked for as the contract wants it', async () => {
    const { tokens, asked } = tokensOf([])
    assert.equal(await tokens.get(signal), 'token-1')
    assert.deepEqual(asked, [
      {
        path: '/apis/upload.cdi.kubevirt.io/v1beta1/namespaces/ns/uploadtokenrequests',
        body: {
          apiVersion: 'upload.cdi.kubevirt.io/v1beta1',
          kind: 'UploadTokenRequest',
          metadata: { generateName: 'token-for-cdi-', namespace: 'ns' },
          spec: { pvcName: 'disk' },
        },
      },
    ])
  })

  it('are shared while they are good, and renewed in time', async () => {
    const { tokens, clock, asked } = tokensOf([])
    assert.deepEqual(await Promise.all([tokens.get(signal), tokens.get(signal)]), ['token-1', 'token-1'])
    await clock.advance(3 * 60_000)
    assert.equal(await tokens.get(signal), 'token-1')
    await clock.advance(60_000)
    assert.equal(await tokens.get(signal), 'token-2')
    tokens.forget()
    assert.equal(await tokens.get(signal), 'token-3')
    assert.equal(asked.length, 3)
  })

  it('are asked for again when the API is not there for a moment', async () => {
    const { tokens, clock } = tokensOf([{ status: 503, body: 'no' }, new ConnectionError('cut'), undefined])
    const token = tokens.get(signal)
    await clock.advance(60_000)
    assert.equal(await token, 'token-1')
  })

  it('are not asked for again where that does not help', async () => {
    const forbidden = tokensOf([{ status: 403, body: { message: 'alice may not' } }])
    await assert.rejects(forbidden.tokens.get(signal), { code: 'CDI_UPLOAD_FORBIDDEN', message: /alice may not/ })
    const old = tokensOf([{ status: 401, body: 'denied' }])
    await assert.rejects(old.tokens.get(signal), { code: 'CDI_UPLOAD_FORBIDDEN', message: /denied/ })
    assert.equal(old.asked.length, 1)
  })

  it('are given up after some tries', async () => {
    const { tokens, clock, asked } = tokensOf(Array.from({ length: 9 }, () => ({ status: 404, body: '' })))
    const token = tokens.get(signal)
    token.catch(() => {})
    await clock.advance(120_000)
    await assert.rejects(token, { code: 'CDI_CLUSTER_API', message: /kubectl get apiservice/ })
    assert.equal(asked.length, 5)
  })
})
