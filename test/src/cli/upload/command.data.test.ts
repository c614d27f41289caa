/** `cdi upload` as a user starts it: real processes, the real kube-apiserver, the real proxy and upload server. */
import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { annotations } from '../../../../src/api/annotations.ts'
import type { DataVolume } from '../../../../src/api/datavolume.gen.ts'
import { kinds } from '../../../../src/api/kinds.ts'
import { makeDisk, makeImage, mebibyte, noise, variantOf } from '../../../fixtures/images.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import type { TempDir } from '../../../fixtures/server-process.ts'
import { cdi, startCdi } from '../../../importer/e2e/support/cdi.ts'
import type { CdiResult, RunningCdi } from '../../../importer/e2e/support/cdi.ts'
import { startClusterFront } from './cluster-front.ts'
import type { ClusterFront } from './cluster-front.ts'
import { startCuttingLine } from './cutting-line.ts'
import { UploadChain } from './upload-chain.ts'

const diskBytes = 48 * mebibyte

let dir: TempDir
let cluster: ClusterFront
let disk: Buffer
let number = 0
const file = (name: string): string => join(dir.path, name)

before(async () => {
  dir = await tempDir('command')
  await makeDisk(file('disk.raw'), { sizeBytes: diskBytes, pieces: [[0, noise(32 * mebibyte, 1)]] })
  disk = await readFile(file('disk.raw'))
  await makeImage(file('disk.raw'), file('disk.qcow2'), variantOf('qcow2 version 3'))
  cluster = await startClusterFront()
})
after(async () => {
  await cluster[Symbol.asyncDispose]()
  await dir[Symbol.asyncDispose]()
})

/** A volume of a name that is used once, with its proxy and its upload server. */
async function newChain(env: Parameters<typeof UploadChain.start>[0] = {}): Promise<UploadChain> {
  number += 1
  const chain = await UploadChain.start({ env: { imageSize: '64Mi' }, ...env, claim: `disk-${number}` })
  cluster.tokens = (pvcName) => chain.proxy.token(pvcName)
  cluster.handedOut = 0
  await cluster.setConfig({
    uploadProxyURL: `localhost:${chain.proxy.port}`,
    uploadProxyCA: chain.proxy.authorities.proxy.certPem,
  })
  return chain
}

const env = (): Record<string, string> => ({ KUBECONFIG: cluster.kubeconfig, XDG_STATE_HOME: file('state') })

const start = (...args: string[]): RunningCdi => startCdi(['upload', ...args], { env: env() })
const run = (...args: string[]): Promise<CdiResult> => cdi(['upload', ...args], { env: env() })

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 40_000
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`)
    await delay(50)
  }
}

/** Until it has looked at its volume, and follows what is told of it: older events mean nothing to it. */
async function waits(running: RunningCdi): Promise<void> {
  await until('the state of the volume', () => running.output().stderr.includes('Pending'))
}

/** What the controllers do: the volume becomes ready, and finished when its server has ended well. */
async function control(chain: UploadChain): Promise<void> {
  const key = { namespace: 'team', name: chain.claim }
  await until('a DataVolume', async () => (await cluster.client.get(kinds.dataVolume, key)) !== undefined)
  await cluster.setPhase(chain.claim, 'UploadScheduled')
  await cluster.setPhase(chain.claim, 'UploadReady')
  await until('the end of the upload server', () => chain.isFinished)
  await cluster.setPhase(chain.claim, 'Succeeded')
}

/** Both together: whichever fails first says why. */
async function finish(running: RunningCdi, controlled: Promise<void>): Promise<CdiResult> {
  let result: CdiResult
  try {
    result = await Promise.race([running.finished, controlled.then(() => running.finished)])
  } catch (error) {
    running.kill('SIGKILL')
    throw new Error(running.output().stderr, { cause: error })
  }
  if (result.exitCode === 0) await controlled
  return result
}

async function assertUploaded(chain: UploadChain): Promise<void> {
  const written = await readFile(chain.disk)
  assert.ok(written.subarray(0, disk.length).equals(disk))
}

const states = (): Promise<string[]> => readdir(file('state/cdi/uploads'))

async function makeDataVolume(name: string, spec: Partial<DataVolume['spec']> = {}): Promise<void> {
  await cluster.client.create(kinds.dataVolume, {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'DataVolume',
    metadata: { name, namespace: 'team' },
    spec: { source: { upload: {} }, storage: { resources: { requests: { storage: '64Mi' } } }, ...spec },
  })
}

describe('cdi upload', () => {
  it('makes a DataVolume as large as the image, uploads and waits until it is finished', async () => {
    await using chain = await newChain()
    const running = start(
      file('disk.qcow2'),
      '--dv',
      chain.claim,
      '--storage-class',
      'fast',
      '--access-mode',
      'ReadWriteMany',
    )
    const { exitCode, stdout, stderr } = await finish(running, control(chain))
    assert.equal(exitCode, 0, stderr)
    await assertUploaded(chain)
    assert.match(stdout, new RegExp(`^team/${chain.claim}: [\\d.]+ MiB in `))
    assert.match(stderr, /disk\.qcow2: qcow2, disk of 48\.0 MiB/)
    assert.match(stderr, new RegExp(`DataVolume team/${chain.claim} created, 48\\.0 MiB`))
    const made = await cluster.client.get(kinds.dataVolume, { namespace: 'team', name: chain.claim })
    assert.deepEqual(made?.spec, {
      source: { upload: {} },
      contentType: 'kubevirt',
      storage: {
        accessModes: ['ReadWriteMany'],
        resources: { requests: { storage: '48Mi' } },
        storageClassName: 'fast',
      },
    })
    assert.equal(made.metadata.annotations?.[annotations.bindImmediate], undefined)
    assert.deepEqual(await states(), [])
  })

  it('uploads into a DataVolume that is there, and prints JSON', async () => {
    await using chain = await newChain()
    await makeDataVolume(chain.claim)
    const running = start(file('disk.raw'), '--dv', chain.claim, '--json', '--force-bind')
    const { exitCode, stdout } = await finish(running, control(chain))
    assert.equal(exitCode, 0, stdout)
    await assertUploaded(chain)
    const events = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string; [key: string]: unknown })
    const done = events.at(-1)
    assert.equal(done?.event, 'done')
    assert.equal(done['sizeBytes'], diskBytes)
    assert.ok(Number(done['sentBytes']) < 34 * mebibyte, 'the hole is not sent')
    assert.ok(events.some(({ event, doneBytes }) => event === 'progress' && doneBytes === diskBytes))
  })

  it('uploads into a claim, which it makes', async () => {
    await using chain = await newChain()
    const running = start(file('disk.raw'), '--pvc', chain.claim, '--force-bind', '--volume-mode', 'filesystem')
    const key = { namespace: 'team', name: chain.claim }
    await until('a claim', async () => (await cluster.client.get(kinds.pvc, key)) !== undefined)
    const note = (notes: Record<string, string>): Promise<unknown> =>
      cluster.client.patch(kinds.pvc, key, { metadata: { annotations: notes } }, { type: 'merge' })
    await note({ [annotations.podReady]: 'true', [annotations.podPhase]: 'Running' })
    await until('the end of the upload server', () => chain.isFinished)
    await note({ [annotations.podReady]: 'false', [annotations.podPhase]: 'Succeeded' })
    const { exitCode, stderr } = await running.finished
    assert.equal(exitCode, 0, stderr)
    await assertUploaded(chain)
    const { metadata, spec } = (await cluster.client.get(kinds.pvc, key)) ?? {}
    assert.equal(metadata?.annotations?.[annotations.uploadTarget], '')
    assert.equal(metadata.annotations[annotations.contentType], 'kubevirt')
    assert.equal(metadata.annotations[annotations.bindImmediate], '')
    assert.equal(metadata.labels?.['cdi.kubevirt.io/applyStorageProfile'], 'true')
    assert.deepEqual(spec?.accessModes, ['ReadWriteOnce'])
    assert.equal(spec.resources?.requests?.['storage'], '48Mi')
  })

  it('uploads standard input', async () => {
    await using chain = await newChain()
    await makeDataVolume(chain.claim)
    const input = createReadStream(file('disk.qcow2'))
    const running = startCdi(['upload', '-', '--dv', chain.claim], { env: env(), input })
    const { exitCode, stderr } = await finish(running, control(chain))
    assert.equal(exitCode, 0, stderr)
    assert.match(stderr, /if this command ends, the upload begins anew/)
    await assertUploaded(chain)
  })

  it('goes on where it was when it was stopped and is started again', async () => {
    await using chain = await newChain()
    await using line = await startCuttingLine({
      port: chain.proxy.port,
      cutAfterMs: 60_000,
      bytesPerSecond: 3 * mebibyte,
    })
    await makeDataVolume(chain.claim)
    const controlled = control(chain)
    controlled.catch(() => {})
    const args = [file('disk.raw'), '--dv', chain.claim, '--uploadproxy-url', `https://localhost:${line.port}`]
    const first = start(...args)
    await until('15 MiB', () => line.bytes > 15 * mebibyte)
    first.kill('SIGINT')
    const stopped = await first.finished
    assert.equal(stopped.exitCode, 130)
    assert.match(stopped.stderr, /run the same command again to go on/)
    assert.equal((await states()).length, 1)
    const second = await run(...args, '--json')
    await controlled
    assert.equal(second.exitCode, 0, second.stderr)
    assert.match(second.stdout, /Going on with the upload that was begun before/)
    await assertUploaded(chain)
    const { sentBytes } = JSON.parse(second.stdout.trim().split('\n').at(-1) ?? '') as { sentBytes: number }
    assert.ok(sentBytes < 22 * mebibyte, `${sentBytes} bytes sent again`)
    assert.deepEqual(await states(), [])
  })

  it('suffers a server that is killed in the middle, and says nothing of a restart where there is none', async () => {
    await using chain = await newChain()
    await using line = await startCuttingLine({
      port: chain.proxy.port,
      cutAfterMs: 60_000,
      bytesPerSecond: 4 * mebibyte,
    })
    await makeDataVolume(chain.claim)
    const controlled = control(chain)
    controlled.catch(() => {})
    const running = start(file('disk.raw'), '--dv', chain.claim, '--uploadproxy-url', `https://localhost:${line.port}`)
    await until('10 MiB', () => line.bytes > 10 * mebibyte)
    await chain.killServer()
    await delay(500)
    await chain.startServer()
    const { exitCode, stderr } = await running.finished
    await controlled
    assert.equal(exitCode, 0, stderr)
    assert.doesNotMatch(stderr, /is lost/)
    await assertUploaded(chain)
  })

  it('makes nothing for an image that does not fit into --size', async () => {
    await using chain = await newChain()
    const { exitCode, stderr } = await run(file('disk.qcow2'), '--dv', chain.claim, '--size', '10Mi')
    assert.equal(exitCode, 6)
    assert.match(stderr, /CDI_IMAGE_TOO_LARGE: .* use --size 48Mi/)
    assert.equal(await cluster.client.get(kinds.dataVolume, { namespace: 'team', name: chain.claim }), undefined)
  })

  it('refuses an image that does not fit into a volume that is there', async () => {
    await using chain = await newChain()
    await makeDataVolume(chain.claim, { storage: { resources: { requests: { storage: '16Mi' } } } })
    const { exitCode, stderr } = await run(file('disk.qcow2'), '--dv', chain.claim)
    assert.equal(exitCode, 6)
    assert.match(stderr, /CDI_IMAGE_TOO_LARGE/)
  })

  it('refuses a volume that is finished, or has another source', async () => {
    await using chain = await newChain()
    await makeDataVolume(chain.claim)
    await cluster.setPhase(chain.claim, 'Succeeded')
    const finished = await run(file('disk.raw'), '--dv', chain.claim)
    assert.equal(finished.exitCode, 6)
    assert.match(finished.stderr, /CDI_UPLOAD_TARGET: .* is filled already/)
    await makeDataVolume(`${chain.claim}-blank`, { source: { blank: {} } })
    const other = await run(file('disk.raw'), '--dv', `${chain.claim}-blank`)
    assert.match(other.stderr, /CDI_UPLOAD_TARGET: .* its source is not `upload`/)
  })

  it('explains WaitForFirstConsumer', async () => {
    await using chain = await newChain()
    await makeDataVolume(chain.claim)
    await cluster.setPhase(chain.claim, 'PendingPopulation')
    const { exitCode, stderr } = await run(file('disk.raw'), '--dv', chain.claim)
    assert.equal(exitCode, 6)
    assert.match(stderr, /CDI_UPLOAD_WAITS_FOR_CONSUMER: .*PendingPopulation.* --force-bind/)
  })

  it('tells what it waited for in vain, events too', async () => {
    await using chain = await newChain()
    await makeDataVolume(chain.claim)
    await cluster.setPhase(chain.claim, 'Pending', {
      conditions: [{ type: 'Bound', status: 'False', reason: 'Pending', message: 'PVC Pending' }],
    })
    const running = start(file('disk.raw'), '--dv', chain.claim, '--wait-secs', '12')
    await waits(running)
    const involvedObject = { kind: 'PersistentVolumeClaim', namespace: 'team', name: chain.claim }
    await cluster.client.create(kinds.event, {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: `${chain.claim}.1`, namespace: 'team' },
      involvedObject,
      type: 'Warning',
      reason: 'ProvisioningFailed',
      message: 'no space in the pool',
      lastTimestamp: new Date().toISOString().replace(/\.\d+Z/, 'Z'),
    })
    const { exitCode, stderr } = await running.finished
    assert.equal(exitCode, 6)
    assert.match(
      stderr,
      /CDI_UPLOAD_NOT_READY: .* after 12 s: Pending: PVC Pending\. ProvisioningFailed: no space in the pool/,
    )
  })

  it('does not wait for a claim that can never be', async () => {
    await using chain = await newChain()
    await makeDataVolume(chain.claim)
    const running = start(file('disk.raw'), '--dv', chain.claim)
    await waits(running)
    await cluster.client.create(kinds.event, {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: `${chain.claim}.1`, namespace: 'team' },
      involvedObject: { kind: 'DataVolume', namespace: 'team', name: chain.claim },
      type: 'Warning',
      reason: 'ErrClaimNotValid',
      message: 'no accessMode specified in StorageProfile x',
      lastTimestamp: new Date().toISOString().replace(/\.\d+Z/, 'Z'),
    })
    const { exitCode, stderr } = await running.finished
    assert.equal(exitCode, 6)
    assert.match(stderr, /CDI_UPLOAD_TARGET: ErrClaimNotValid: no accessMode/)
  })

  it('makes nothing for a user who may not upload', async () => {
    await using chain = await newChain()
    cluster.tokens = () => ({ status: 403, message: 'uploadtokenrequests is forbidden' })
    const { exitCode, stderr } = await run(file('disk.raw'), '--dv', chain.claim)
    assert.equal(exitCode, 2)
    assert.match(stderr, /CDI_UPLOAD_FORBIDDEN: .*forbidden/)
    assert.equal(await cluster.client.get(kinds.dataVolume, { namespace: 'team', name: chain.claim }), undefined)
  })

  it('needs to know where the proxy is', async () => {
    await using chain = await newChain()
    await cluster.setConfig({ uploadProxyURL: null })
    const { exitCode, stderr } = await run(file('disk.raw'), '--dv', chain.claim)
    assert.equal(exitCode, 2)
    assert.match(stderr, /CDI_UPLOAD_NO_PROXY/)
  })

  it('trusts the CA of CDIConfig or of --ca, or anything if it is told to, and nobody else', async () => {
    await using chain = await newChain()
    await makeDataVolume(chain.claim)
    await cluster.setPhase(chain.claim, 'UploadReady')
    await cluster.setConfig({ uploadProxyCA: null })
    const stranger = await run(file('disk.raw'), '--dv', chain.claim)
    assert.equal(stranger.exitCode, 6)
    assert.match(stranger.stderr, /CDI_UPLOAD_TLS/)
    const controlled = control(chain)
    controlled.catch(() => {})
    const trusting = await run(file('disk.raw'), '--dv', chain.claim, '--ca', chain.proxy.caFile)
    assert.equal(trusting.exitCode, 0, trusting.stderr)
    await controlled
    await using other = await newChain()
    await cluster.setConfig({ uploadProxyCA: null })
    await makeDataVolume(other.claim)
    const alsoControlled = control(other)
    alsoControlled.catch(() => {})
    const careless = await run(file('disk.raw'), '--dv', other.claim, '--insecure')
    assert.equal(careless.exitCode, 0, careless.stderr)
    await alsoControlled
  })

  it('says what the server says of damaged data', async () => {
    await using chain = await newChain()
    await makeDataVolume(chain.claim)
    await cluster.setPhase(chain.claim, 'UploadReady')
    const damaged = Buffer.from(await readFile(file('disk.qcow2')))
    // Behind the headers that are looked at here.
    const { gzipSync } = await import('node:zlib')
    const packed = gzipSync(damaged, { level: 1 })
    packed.fill(0xff, packed.length - 1000)
    await writeFile(file('damaged.qcow2.gz'), packed)
    const { exitCode, stderr } = await run(file('damaged.qcow2.gz'), '--dv', chain.claim, '--size', '64Mi')
    assert.equal(exitCode, 5, stderr)
    assert.match(stderr, /CDI_DECODE_CORRUPT/)
    assert.deepEqual(await states(), [])
  })

  it('explains itself', async () => {
    const { exitCode, stdout } = await run('--help')
    assert.equal(exitCode, 0)
    assert.match(stdout, /usage: cdi upload FILE/)
    assert.equal((await run(file('disk.raw'))).exitCode, 2)
  })
})
