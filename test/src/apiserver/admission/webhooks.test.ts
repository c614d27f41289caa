import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { decide, webhooks } from '../../../../src/apiserver/admission/webhooks.ts'
import { request, told } from './requests.ts'

const { signal } = new AbortController()

describe('a webhook', () => {
  it('refuses what it is not there for', async () => {
    const [first] = webhooks
    assert.ok(first)
    const dependencies = {
      client: { get: async () => undefined, list: async () => ({ items: [], resourceVersion: '' }) },
      askAccess: async () => ({ allowed: false, reason: '' }),
      controllerUser: 'the controller',
      signToken: async () => '',
    }
    for (const resource of ['pods', 'constructor']) {
      const verdict = await decide(first, request(resource, { object: {} }), dependencies, signal)
      assert.equal(told(verdict), '400:expect resource to be datavolumes')
    }
  })
})
