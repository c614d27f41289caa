import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import * as fc from 'fast-check'
import { kinds } from '../../../src/api/kinds.ts'
import type { CDI, ConfigMap, Secret } from '../../../src/api/kinds.ts'
import { CertificateManager } from '../../../src/certs/manager.ts'
import type { CertificateManagerOptions } from '../../../src/certs/manager.ts'
import { certificateNames } from '../../../src/certs/names.ts'
import { certificatesIn } from '../../../src/certs/pem.ts'
import { ApiError } from '../../../src/kube/api-error.ts'
import { formatTime, TestClock } from '../../../src/kube/clock.ts'
import { silentLog } from '../../../src/log.ts'
import { Dice } from '../../fixtures/dice.ts'
import { MemoryApi } from '../../fixtures/memory-api.ts'

const namespace = 'cdi'
const hourMs = 3_600_000
const { apiServer, uploadProxy, uploadServer, uploadClient } = certificateNames
const families = [apiServer, uploadProxy, uploadServer, uploadClient]
const leaves = [apiServer, uploadProxy, uploadClient]

type Client = CertificateManagerOptions['client']

/** The objects of an installation in memory, and managers over them. */
function installation() {
  const api = new MemoryApi()
  const clock = new TestClock('2026-03-01T12:00:00.500Z')
  const requests: string[] = []
  const client: Client = {
    ...api.client({ isCut: false, requests }),
    delete: async (kind, { name }) => api.objects.delete(`${kind.plural} ${namespace}/${name}`),
  }
  const manager = (own: Client = client): CertificateManager =>
    new CertificateManager({ client: own, namespace, log: silentLog(), clock })
  const secret = (name: string): Secret => api.objects.get(`secrets ${namespace}/${name}`) as Secret
  const textOf = (name: string, key: string): string => Buffer.from(secret(name).data?.[key] ?? '', 'base64').toString()
  const certificate = (name: string): X509Certificate => new X509Certificate(textOf(name, 'tls.crt'))
  const bundle = (name: string): X509Certificate[] =>
    certificatesIn((api.objects.get(`configmaps ${namespace}/${name}`) as ConfigMap).data?.['ca-bundle.crt'] ?? '')
  const writes = (): string[] => requests.filter((request) => !request.startsWith('get '))
  return { api, clock, client, manager, secret, certificate, bundle, textOf, writes, requests }
}

function cdiWith(certConfig: CDI['spec']['certConfig']): CDI {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'CDI',
    metadata: { name: 'cdi', uid: 'cdi-uid', resourceVersion: '1' },
    spec: { certConfig },
  }
}

function isTrusted(leaf: X509Certificate, authorities: readonly X509Certificate[]): boolean {
  return authorities.some((authority) => leaf.checkIssued(authority) && leaf.verify(authority.publicKey))
}

/** Lets requests through in a random order, a few at a time, after those that are coming have come. */
class Turns {
  readonly #dice: Dice
  #waiting: (() => void)[] = []

  constructor(seed: number) {
    this.#dice = new Dice(seed)
  }

  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
    })
  }

  async during<T>(work: Promise<T>): Promise<T> {
    const over = work.then(() => true as const)
    // Longer than it takes to make a key, so that nobody is ahead for being quick.
    while ((await Promise.race([over, delay(4)])) !== true) {
      const passing = this.#waiting.filter(() => this.#dice.below(4) > 0)
      this.#waiting = this.#waiting.filter((resolve) => !passing.includes(resolve))
      while (passing.length > 0) passing.splice(this.#dice.below(passing.length), 1)[0]?.()
    }
    return work
  }
}

describe('certificate manager', () => {
  it('makes four authorities, four bundles and three leaves, and then leaves them alone', async () => {
    const { manager, writes, requests, certificate, bundle } = installation()
    assert.deepEqual((await manager().run({})).errors, [])
    assert.equal(writes().length, 11)
    for (const { bundle: name, signer } of families) {
      assert.deepEqual(
        bundle(name).map((authority) => authority.raw),
        [certificate(signer).raw],
      )
    }
    for (const { bundle: name, leaf } of leaves) assert.ok(isTrusted(certificate(leaf), bundle(name)))
    await manager().run({})
    assert.equal(writes().length, 11)
    assert.equal(requests.length - writes().length, 22)
  })

  it('keeps everything trusted and valid for a month, and changes a leaf only when its authority has spread', async () => {
    const { clock, manager, certificate, bundle, writes } = installation()
    const one = manager()
    // A refresh of 11 h, so that it falls due at every distance from the renewal of the authority.
    const leafTimes = { duration: '24h', renewBefore: '13h' }
    const cdi = cdiWith({ server: leafTimes, client: leafTimes })
    const end = clock.now() + 30 * 24 * hourMs
    const trustedSince = new Map<string, number>()
    const seenLeaves = new Map<string, string>()
    let rounds = 0
    while (clock.now() < end) {
      const { lookAgainAt, errors } = await one.run({ cdi })
      assert.deepEqual(errors, [])
      rounds += 1
      const now = clock.now()
      for (const { bundle: name } of families) {
        for (const authority of bundle(name)) {
          assert.ok(authority.validToDate.getTime() > now)
          if (!trustedSince.has(authority.fingerprint256)) trustedSince.set(authority.fingerprint256, now)
        }
      }
      for (const { bundle: name, leaf } of leaves) {
        const current = certificate(leaf)
        const issuer = bundle(name).find((authority) => isTrusted(current, [authority]))
        assert.ok(issuer, `${leaf} is trusted`)
        assert.ok(current.validToDate.getTime() > now)
        assert.ok(current.validToDate.getTime() <= issuer.validToDate.getTime())
        const isFirst = seenLeaves.get(leaf) === undefined
        const isNew = seenLeaves.get(leaf) !== current.fingerprint256
        if (isNew && !isFirst) {
          const knownMs = now - (trustedSince.get(issuer.fingerprint256) ?? now)
          assert.ok(knownMs >= 1.1 * hourMs - 2000, `${leaf} came ${knownMs} ms after its authority`)
        }
        seenLeaves.set(leaf, current.fingerprint256)
      }
      await clock.advance(Math.max(lookAgainAt - now, 1))
    }
    // 4 authorities and bundles once a day, bundles once more at an expiry, 3 leaves every 11 h: no more than that.
    assert.ok(writes().length > 200 && writes().length < 11 + 30 * (4 * 3 + 3 * 3), `${writes().length} writes`)
    assert.ok(rounds < 1500, `${rounds} rounds`)
  })

  it('tells when something is due, and does it then and not before', async () => {
    const { clock, manager, writes, certificate } = installation()
    const one = manager()
    await one.run({})
    const { lookAgainAt } = await one.run({})
    const leaf = certificate(apiServer.leaf)
    await clock.advance(lookAgainAt - clock.now() - 1)
    await one.run({})
    assert.equal(writes().length, 11)
    await clock.advance(1)
    await one.run({})
    assert.equal(writes().length, 14)
    assert.notEqual(certificate(apiServer.leaf).fingerprint256, leaf.fingerprint256)
  })

  it('re-issues everything at once when certConfig changes, with the lifetimes asked for', async () => {
    const { clock, manager, certificate, secret } = installation()
    await manager().run({})
    await clock.advance(5 * 60_000)
    const changedAt = Math.floor(clock.now() / 1000) * 1000
    const cdi = cdiWith({
      ca: { duration: '40m', renewBefore: '10m' },
      server: { duration: '20m0s', renewBefore: '5m0s' },
      client: { duration: '10m', renewBefore: '2m' },
    })
    await manager().run({ cdi })
    const minutes: [string, number, string][] = [
      ...families.map(({ signer }): [string, number, string] => [signer, 40, '{"lifetime":"40m0s","refresh":"30m0s"}']),
      [apiServer.leaf, 20, '{"lifetime":"20m0s","refresh":"15m0s"}'],
      [uploadProxy.leaf, 20, '{"lifetime":"20m0s","refresh":"15m0s"}'],
      [uploadClient.leaf, 10, '{"lifetime":"10m0s","refresh":"8m0s"}'],
    ]
    for (const [name, lasts, config] of minutes) {
      const { validFromDate, validToDate } = certificate(name)
      assert.ok(validFromDate.getTime() >= changedAt - 1000, name)
      assert.equal(validToDate.getTime() - validFromDate.getTime(), lasts * 60_000 + 1000, name)
      assert.equal(secret(name).metadata.annotations?.['operator.cdi.kubevirt.io/certConfig'], config)
    }
  })

  it('re-issues the leaves too when the lifetime of authorities alone changes', async () => {
    const { clock, manager, certificate } = installation()
    await manager().run({})
    const before = leaves.map(({ leaf }) => certificate(leaf).fingerprint256)
    await clock.advance(60_000)
    await manager().run({ cdi: cdiWith({ ca: { duration: '30h', renewBefore: '10h' } }) })
    for (const [at, { leaf, signer }] of leaves.entries()) {
      assert.notEqual(certificate(leaf).fingerprint256, before[at])
      assert.ok(isTrusted(certificate(leaf), [certificate(signer)]))
    }
  })

  it('caps the life of a leaf by that of its signer', async () => {
    const { manager, certificate } = installation()
    await manager().run({ cdi: cdiWith({ ca: { duration: '20m', renewBefore: '5m' } }) })
    for (const { leaf, signer } of leaves) {
      assert.equal(certificate(leaf).validToDate.getTime(), certificate(signer).validToDate.getTime())
    }
  })

  it('caps the life of a leaf by what the annotation of its signer says, if that is less', async () => {
    const { clock, client, manager, certificate } = installation()
    const cdi = cdiWith({ server: { duration: '40h', renewBefore: '20h' } })
    await manager().run({ cdi })
    const end = Math.floor(clock.now() / 1000) * 1000 + 30 * hourMs
    const annotations = { 'auth.openshift.io/certificate-not-after': formatTime(end) }
    for (const name of [apiServer.signer, apiServer.leaf]) {
      const notAfter = name === apiServer.leaf ? { 'auth.openshift.io/certificate-not-after': null } : annotations
      const body = { metadata: { annotations: notAfter } }
      await client.patch(kinds.secret, { namespace, name }, body, { type: 'merge' })
    }
    await manager().run({ cdi })
    assert.equal(certificate(apiServer.leaf).validToDate.getTime(), end)
  })

  it('finishes what a manager left that was killed after any of its writes', async () => {
    for (let survived = 0; survived <= 11; survived++) {
      const { client, manager, writes, certificate, bundle } = installation()
      let left = survived
      const die = (): void => {
        if (left-- <= 0) throw new Error('killed')
      }
      const mortal: Client = {
        ...client,
        create: async (...args) => {
          die()
          return client.create(...args)
        },
        patch: async (...args) => {
          die()
          return client.patch(...args)
        },
      }
      const { errors } = await manager(mortal).run({})
      assert.equal(errors.length > 0, survived < 11)
      for (const error of errors) assert.match(String(error), /killed/)
      assert.deepEqual((await manager().run({})).errors, [])
      assert.equal(writes().length, 11, `after ${survived}`)
      for (const { bundle: name, leaf } of leaves) assert.ok(isTrusted(certificate(leaf), bundle(name)))
    }
  })

  it('looks after the other purposes when one fails, and tells what failed', async () => {
    const { client, manager, secret, bundle } = installation()
    const failing: Client = {
      ...client,
      create: async (kind, object, signal) => {
        const { name } = object.metadata as { name: string }
        if (name === uploadServer.bundle) throw new ApiError({ status: 403, reason: 'Forbidden', message: 'no' })
        return client.create(kind, object, signal)
      },
    }
    const { errors, apiServerBundle } = await manager(failing).run({})
    assert.deepEqual(errors.map(String), ['ApiError: no'])
    assert.deepEqual(certificatesIn(apiServerBundle ?? '').map(String), bundle(apiServer.bundle).map(String))
    assert.ok(secret(uploadClient.leaf))
  })

  for (const [when, prepare] of [
    ['at the beginning', async () => undefined],
    [
      'when all is due',
      async ({ manager, clock }: ReturnType<typeof installation>) => {
        await manager().run({})
        await clock.advance(26 * hourMs)
      },
    ],
  ] as const) {
    it(`ends with one trusted set when several run at the same time ${when}, in whatever order their requests come`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.nat(60_000), fc.integer({ min: 2, max: 3 }), async (seed, count) => {
          const scene = installation()
          const { client, manager, certificate, bundle, writes } = scene
          await prepare(scene)
          const turns = new Turns(seed)
          const shuffled: Client = {
            get: (...args) => turns.next().then(() => client.get(...args)),
            create: (...args) => turns.next().then(() => client.create(...args)),
            patch: (...args) => turns.next().then(() => client.patch(...args)),
            delete: (...args) => turns.next().then(() => client.delete(...args)),
          }
          const runs = await turns.during(Promise.all(Array.from({ length: count }, () => manager(shuffled).run({}))))
          for (const { errors } of runs) assert.deepEqual(errors, [])
          const before = writes().length
          await manager().run({})
          assert.equal(writes().length, before, 'nothing was left to do')
          for (const { bundle: name, signer } of families) {
            const authorities = bundle(name).map(({ fingerprint256 }) => fingerprint256)
            assert.ok(authorities.includes(certificate(signer).fingerprint256))
          }
          for (const { bundle: name, leaf } of leaves) assert.ok(isTrusted(certificate(leaf), bundle(name)))
        }),
        { numRuns: 15 },
      )
    })
  }

  it('puts back labels and owner of what it keeps, and leaves foreign ones', async () => {
    const { api, client, manager, secret, writes } = installation()
    assert.deepEqual((await manager().run({})).errors, [])
    const key = { namespace, name: apiServer.signer }
    const patch = { metadata: { labels: { 'cdi.kubevirt.io': null, mine: 'yes' } } }
    await client.patch(kinds.secret, key, patch, { type: 'merge' })
    const before = writes().length
    const cdi = cdiWith(undefined)
    cdi.metadata.labels = { 'app.kubernetes.io/part-of': 'hco', 'app.kubernetes.io/version': '1.2' }
    await manager().run({ cdi })
    assert.equal(writes().length - before, 11)
    assert.equal(api.objects.size, 11)
    const { labels, ownerReferences } = secret(apiServer.signer).metadata
    assert.deepEqual(labels, {
      app: 'containerized-data-importer',
      'app.kubernetes.io/component': 'storage',
      'app.kubernetes.io/managed-by': 'cdi-operator',
      'app.kubernetes.io/part-of': 'hco',
      'app.kubernetes.io/version': '1.2',
      'auth.openshift.io/managed-certificate-type': 'signer',
      'cdi.kubevirt.io': '',
      mine: 'yes',
    })
    assert.deepEqual(ownerReferences, [
      {
        apiVersion: 'cdi.kubevirt.io/v1beta1',
        kind: 'CDI',
        name: 'cdi',
        uid: 'cdi-uid',
        controller: true,
        blockOwnerDeletion: true,
      },
    ])
  })
})
