import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { annotations } from '../../../../src/api/annotations.ts'
import { judgeEvent } from '../../../../src/cli/upload/cluster.ts'
import { reprDigest } from '../../../../src/cli/upload/digest-header.ts'
import { findProxy, parseAddress } from '../../../../src/cli/upload/proxy-address.ts'
import { assertFits, decideSize } from '../../../../src/cli/upload/size.ts'
import { judge } from '../../../../src/cli/upload/verdict.ts'
import { assertTakesUpload, isFinished, isReady, stateText } from '../../../../src/cli/upload/volume.ts'
import type { Volume } from '../../../../src/cli/upload/volume.ts'

const mebibyte = 1024 * 1024

describe('size of a new volume', () => {
  const raw = { path: 'disk', format: 'raw' as const }

  it('is what the image needs, in whole MiB, unless the user says more', () => {
    const image = { ...raw, virtualSizeBytes: 3 * mebibyte + 1 }
    assert.equal(decideSize({ askedBytes: undefined, image }), 4 * mebibyte)
    assert.equal(decideSize({ askedBytes: 9 * mebibyte, image }), 9 * mebibyte)
    assert.equal(decideSize({ askedBytes: undefined, image: { ...raw, plainSizeBytes: mebibyte } }), mebibyte)
  })

  it('is asked for where nobody can tell', () => {
    const ask = (image: Parameters<typeof decideSize>[0]['image']): void =>
      assert.throws(() => decideSize({ askedBytes: undefined, image }), { code: 'CDI_USAGE', message: /--size/ })
    ask(undefined)
    ask(raw)
    ask({ path: 'x', format: 'archive', virtualSizeBytes: 5 })
    assert.equal(decideSize({ askedBytes: 7, image: undefined }), 7)
  })

  it('is refused when the disk does not fit, with the size that does', () => {
    const image = { ...raw, virtualSizeBytes: 10 * mebibyte }
    assert.throws(() => decideSize({ askedBytes: 9 * mebibyte, image }), {
      code: 'CDI_IMAGE_TOO_LARGE',
      message: /use --size 10Mi/,
    })
    assert.throws(() => assertFits({ image, capacityBytes: 1, whose: 'the volume' }), { message: /the volume/ })
    assertFits({ image, capacityBytes: 10 * mebibyte, whose: '' })
  })
})

const dataVolume = (phase: string | undefined, more: object = {}, spec: object = { source: { upload: {} } }): Volume =>
  ({
    kind: 'dv',
    object: {
      metadata: { name: 'd', namespace: 'n' },
      spec,
      status: phase === undefined ? undefined : { phase, ...more },
    },
  }) as Volume

const claim = (notes: Record<string, string>, spec: object = {}): Volume =>
  ({ kind: 'pvc', object: { metadata: { name: 'c', namespace: 'n', annotations: notes }, spec } }) as Volume

describe('a volume that waits for an upload', () => {
  const wanted = { archive: false, forceBind: false }
  const target = { [annotations.uploadTarget]: '' }

  it('is ready when its upload server is', () => {
    for (const phase of [undefined, '', 'Pending', 'UploadScheduled', 'Unknown']) {
      assert.equal(isReady(dataVolume(phase), wanted), false, phase)
    }
    assert.equal(isReady(dataVolume('UploadReady'), wanted), true)
    assert.equal(isReady(claim(target), wanted), false)
    assert.equal(isReady(claim({ ...target, [annotations.podReady]: 'true' }), wanted), true)
    assert.equal(
      isReady(claim({ [annotations.podReady]: 'true' }, { dataSourceRef: { kind: 'VolumeUploadSource' } }), wanted),
      true,
    )
  })

  it('waits for a consumer only with --force-bind', () => {
    for (const phase of ['WaitForFirstConsumer', 'PendingPopulation']) {
      assert.throws(() => isReady(dataVolume(phase), wanted), { code: 'CDI_UPLOAD_WAITS_FOR_CONSUMER' })
      assert.equal(isReady(dataVolume(phase), { ...wanted, forceBind: true }), false)
    }
  })

  it('is given up when it can never be ready', () => {
    assert.throws(() => isReady(dataVolume('Succeeded'), wanted), { code: 'CDI_UPLOAD_TARGET' })
    assert.throws(() => isReady(dataVolume('Failed'), wanted), { code: 'CDI_UPLOAD_FAILED' })
    assert.throws(() => isReady(claim({ ...target, [annotations.podPhase]: 'Succeeded' }), wanted), {
      code: 'CDI_UPLOAD_TARGET',
    })
    const refused = (volume: Volume, message: RegExp, archive = false): void =>
      assert.throws(() => assertTakesUpload(volume, { archive }), { code: 'CDI_UPLOAD_TARGET', message })
    refused(dataVolume(undefined, {}, { source: { blank: {} } }), /source is not/)
    refused(dataVolume(undefined, {}, {}), /source is not/)
    refused(claim({}), /no annotation/)
    refused(dataVolume(undefined), /--archive/, true)
    refused(dataVolume(undefined, {}, { source: { upload: {} }, contentType: 'archive' }), /--archive/)
    refused(
      { kind: 'pvc', object: { metadata: { name: 'c', deletionTimestamp: '2026-01-01T00:00:00Z' } } } as Volume,
      /deleted/,
    )
    assertTakesUpload(dataVolume(undefined, {}, { source: { upload: {} }, contentType: 'archive' }), { archive: true })
  })

  it('says what it waits for in one line', () => {
    const conditions = [
      { type: 'Bound', status: 'False', message: 'PVC d Pending' },
      { type: 'Running', status: 'False', message: 'PVC d Pending' },
      { type: 'Ready', status: 'False', message: 'not told' },
    ]
    assert.equal(stateText(dataVolume('Pending', { conditions })), 'Pending: PVC d Pending')
    assert.equal(stateText(dataVolume(undefined)), 'Pending')
    assert.equal(stateText(claim({ [annotations.conditionRunningMessage]: 'pulling' })), 'Pending: pulling')
    assert.equal(isFinished(dataVolume('Succeeded')), true)
  })
})

describe('events while waiting', () => {
  const of = (type: string, reason: string) => ({ type, reason, message: 'text' })
  const dv = { kind: 'dv', forceBind: false } as const
  const pvc = { kind: 'pvc', forceBind: false } as const

  it('are told when they warn, and end the wait when it is hopeless', () => {
    assert.deepEqual(judgeEvent(of('Warning', 'ProvisioningFailed'), dv), { text: 'ProvisioningFailed: text' })
    assert.equal(judgeEvent(of('Normal', 'Provisioning'), dv), undefined)
    assert.equal(judgeEvent(of('Warning', 'ErrClaimNotValid'), dv)?.error?.code, 'CDI_UPLOAD_TARGET')
    assert.equal(judgeEvent(of('Normal', 'WaitForFirstConsumer'), pvc)?.error?.code, 'CDI_UPLOAD_WAITS_FOR_CONSUMER')
    assert.equal(judgeEvent(of('Normal', 'WaitForFirstConsumer'), { ...pvc, forceBind: true }), undefined)
    // The phase of a DataVolume tells that better.
    assert.equal(judgeEvent(of('Normal', 'WaitForFirstConsumer'), dv), undefined)
  })
})

describe('address of the upload proxy', () => {
  const config = (override?: string, url?: string, ca?: string) =>
    ({
      spec: { uploadProxyURLOverride: override },
      status: { uploadProxyURL: url, uploadProxyCA: ca },
    }) as Parameters<typeof findProxy>[1]

  it('is the flag, else the override, else what the controller found', async () => {
    const of = async (flag: string | undefined, ...rest: Parameters<typeof config>): Promise<string> =>
      (await findProxy({ ...(flag === undefined ? {} : { proxyUrl: flag }), insecure: false }, config(...rest))).url
        .href
    assert.equal(await of('flag:1', 'override', 'status'), 'https://flag:1/')
    assert.equal(await of(undefined, 'https://override/prefix', 'status'), 'https://override/prefix')
    assert.equal(await of(undefined, undefined, 'status.example'), 'https://status.example/')
    await assert.rejects(findProxy({ insecure: false }, undefined), { code: 'CDI_UPLOAD_NO_PROXY' })
    await assert.rejects(findProxy({ insecure: false }, config()), { code: 'CDI_UPLOAD_NO_PROXY' })
  })

  it('never shows the token to a stranger', () => {
    for (const text of ['http://proxy', 'ftp://proxy', 'https://', 'https://p/?q=1', '::']) {
      assert.throws(() => parseAddress(text), { code: 'CDI_USAGE' }, text)
    }
    assert.equal(parseAddress('http://127.0.0.1:8080').port, '8080')
  })

  it('brings the certificates to trust', async () => {
    const pem = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'
    const address = await findProxy({ insecure: false }, config('x', undefined, `junk\n${pem}\n`))
    assert.deepEqual(address.trust, [pem])
    assert.equal((await findProxy({ insecure: true }, config('x', undefined, pem))).trust, 'any')
    await assert.rejects(findProxy({ insecure: false, caFile: '/nowhere' }, config('x')), { code: 'CDI_USAGE' })
  })
})

describe('an answer', () => {
  const of = (status: number, headers: Record<string, string> = {}, text = '') => judge({ status, headers, text })

  it('means what its status or its code says', () => {
    const table: readonly [number, string][] = [
      [200, 'ok'],
      [204, 'ok'],
      [401, 'token'],
      [404, 'gone'],
      [410, 'gone'],
      [409, 'conflict'],
      [408, 'retry'],
      [423, 'retry'],
      [429, 'retry'],
      [502, 'retry'],
      [503, 'retry'],
      [504, 'retry'],
      [400, 'fatal'],
      [403, 'fatal'],
      [413, 'fatal'],
      [460, 'fatal'],
      [500, 'fatal'],
    ]
    for (const [status, kind] of table) assert.equal(of(status).kind, kind, String(status))
    assert.equal(of(500, { 'cdi-error-code': 'CDI_TARGET_IO' }).kind, 'retry')
    assert.equal(of(503, { 'cdi-error-code': 'CDI_SCRATCH_REQUIRED' }).kind, 'retry')
    assert.equal(of(503, { 'cdi-error-code': 'CDI_NONSENSE' }).kind, 'retry')
    const fatal = of(400, { 'cdi-error-code': 'CDI_TARGET_FULL' }, 'a\n b')
    assert.ok(fatal.kind === 'fatal')
    assert.equal(fatal.error.code, 'CDI_TARGET_FULL')
    assert.equal(fatal.error.message, 'a b')
  })

  it('tells how long to wait', () => {
    const wait = of(503, { 'retry-after': '7' })
    assert.ok(wait.kind === 'retry')
    assert.equal(wait.leastMs, 7000)
    const odd = of(503, { 'retry-after': 'Tue, 01 Jan 2030 00:00:00 GMT' })
    assert.ok(odd.kind === 'retry')
    assert.equal(odd.leastMs, 0)
  })
})

describe('a digest', () => {
  it('is written as RFC 9530 wants it', () => {
    assert.deepEqual(reprDigest({ algorithm: 'sha1', hex: '00'.repeat(20) }), {
      'repr-digest': 'sha=:AAAAAAAAAAAAAAAAAAAAAAAAAAA=:',
    })
    assert.deepEqual(reprDigest(undefined), {})
  })
})
