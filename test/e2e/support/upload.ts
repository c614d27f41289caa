/** The steps of uploads, as scenes need them: tokens, targets that are ready, one request from this machine. */
import type { ReadStream } from 'node:fs'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { request } from 'node:https'
import type { ClientRequest, IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { kinds } from '../../../src/api/kinds.ts'
import type { PersistentVolumeClaim, Pod } from '../../../src/api/kinds.ts'
import { dataVolume } from '../../fixtures/data-volume.ts'
import type { DataVolumeBuilder } from '../../fixtures/data-volume.ts'
import { uploadTokenRequest } from '../../fixtures/virtctl.ts'
import { classes } from './cluster.ts'
import type { CurlAnswer, UploadProxy } from './proxy.ts'
import type { Scene } from './scene.ts'

/** The usual target: 64 MiB in a file of the immediate class. */
export function uploadDisk(name = 'dv'): DataVolumeBuilder {
  return dataVolume(name).upload().storage('64Mi').on(classes.immediate).mode('Filesystem').access('ReadWriteOnce')
}

/** A fresh token for a claim of the scene. */
export async function tokenFor(scene: Scene, pvcName = 'dv'): Promise<string> {
  const { status } = await scene.cluster.kube.create(uploadTokenRequest, {
    apiVersion: 'upload.cdi.kubevirt.io/v1beta1',
    kind: 'UploadTokenRequest',
    metadata: { generateName: 'e2e-', namespace: scene.namespace },
    spec: { pvcName },
  })
  if (!status?.token) throw new Error(`there is no token in the answer for ${pvcName}`)
  return status.token
}

/** Makes the DataVolume and waits until it may be uploaded to. */
export async function openTarget(scene: Scene, builder: DataVolumeBuilder = uploadDisk()): Promise<void> {
  await scene.apply(builder)
  await scene.reaches(builder.name, 'UploadReady')
}

/** A claim of 64 MiB that somebody made who knows nothing of us, with its volume. */
export async function boundClaim(
  scene: Scene,
  name: string,
  spec: Partial<PersistentVolumeClaim['spec']> = {},
): Promise<void> {
  await scene.create(kinds.pvc, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: classes.immediate,
      resources: { requests: { storage: '64Mi' } },
      ...spec,
    },
  })
  await scene.until('the volume', () => scene.pvc(name)?.status?.phase === 'Bound')
}

/** The claim that the upload pod works on: the prime claim if there is one. */
export function carrierOf(scene: Scene, name = 'dv'): PersistentVolumeClaim | undefined {
  const target = scene.pvc(name)
  if (target?.spec?.dataSourceRef?.kind !== 'VolumeUploadSource') return target
  return scene.pvc(`prime-${target.metadata.uid}`)
}

/** The upload pod that is there. */
export async function uploadPod(scene: Scene, name = 'dv'): Promise<Pod> {
  return scene.until(`the upload pod of ${name}`, () => {
    const carrier = carrierOf(scene, name)
    return carrier && scene.seen.uploadPods(carrier.metadata.name).find(({ gone }) => !gone)?.last
  })
}

/** Arguments of curl for a token. */
export function bearer(token: string): string[] {
  return ['--header', `Authorization: Bearer ${token}`]
}

export interface CurlUpload {
  readonly file: string
  /** PUT is `curl -T`, POST is `curl --data-binary`. */
  readonly method?: 'POST' | 'PUT'
  readonly path?: string
  readonly pvcName?: string
  /** A fresh one unless told. */
  readonly token?: string
  readonly args?: readonly string[]
}

/** One upload as people type it. */
export async function curlUpload(scene: Scene, proxy: UploadProxy, options: CurlUpload): Promise<CurlAnswer> {
  const { file, method = 'POST', path = '/v1beta1/upload', pvcName = 'dv', args = [] } = options
  const token = options.token ?? (await tokenFor(scene, pvcName))
  const body = path.includes('-form')
    ? ['--form', `file=@${file}`]
    : method === 'PUT'
      ? ['--upload-file', file]
      : ['--data-binary', `@${file}`]
  return proxy.curl(path, [...bearer(token), ...body, ...args])
}

export interface TimedAnswer {
  readonly status: number
  readonly body: string
  /** From the last byte of the body, handed to the kernel, to the first of the answer. */
  readonly tailMs: number
  readonly totalMs: number
}

/** One upload whose tail is measured. */
export async function timedUpload(
  proxy: UploadProxy,
  { file, token, path = '/v1beta1/upload' }: { file: string; token: string; path?: string },
): Promise<TimedAnswer> {
  const agent = proxy.agent()
  const started = performance.now()
  const outgoing = request(proxy.url(path), {
    agent,
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-length': (await stat(file)).size },
  })
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve).once('error', reject)
  })
  answered.catch(() => {})
  try {
    await pipeline(createReadStream(file), outgoing)
    const sent = performance.now()
    const response = await answered
    const tailMs = performance.now() - sent
    return {
      status: response.statusCode ?? 0,
      body: await text(response),
      tailMs,
      totalMs: performance.now() - started,
    }
  } finally {
    agent.destroy()
  }
}

/**
 * Less than the server lets a silent client keep its place (30 s): whoever gets in before that does so because the end of
 * the former connection was noticed.
 */
const busyMs = 25_000

/**
 * Tries again while the server is busy, as virtctl does: what an upload before it left behind may be swept away a moment
 * later only, and on a busy machine it takes longer than virtctl is patient.
 */
export async function whenFree<T extends object>(attempt: () => Promise<T>): Promise<T> {
  const end = performance.now() + busyMs
  for (let tries = 1; ; tries += 1) {
    const outcome = await attempt()
    const isBusy = 'status' in outcome && outcome.status === 503
    if (!isBusy || performance.now() > end) return outcome
    await delay(Math.min(200 * tries, 1000))
  }
}

export interface BrokenUpload {
  /** Bytes of the body that were sent before the connection was cut. */
  readonly sentBytes: number
}

export interface AbortedUpload {
  readonly file: string
  readonly token: string
  /** Of the body, before the connection is cut. */
  readonly bytes: number
  readonly path?: string
}

/** Begins an upload of a file when the server is free, sends so many bytes of it and cuts the connection. */
export async function abortedUpload(proxy: UploadProxy, upload: AbortedUpload): Promise<BrokenUpload> {
  const outcome = await whenFree(() => sendAndCut(proxy, upload))
  if ('sentBytes' in outcome) return outcome
  throw new Error(`answered before it was cut off: ${outcome.status} ${outcome.body}`)
}

/** Resolves with the answer if one comes before the cut. */
async function sendAndCut(
  proxy: UploadProxy,
  { file, token, bytes, path = '/v1beta1/upload' }: AbortedUpload,
): Promise<BrokenUpload | { status: number; body: string }> {
  const agent = proxy.agent()
  const outgoing = request(proxy.url(path), {
    agent,
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-length': (await stat(file)).size },
  })
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve).on('error', reject)
  })
  answered.catch(() => {})
  try {
    const early = await Promise.race([answered, send(outgoing, { file, bytes, answered })])
    if (typeof early === 'number') return { sentBytes: early }
    return { status: early.statusCode ?? 0, body: await text(early) }
  } finally {
    outgoing.destroy()
    agent.destroy()
  }
}

/** Resolves when so many bytes have left the buffers of this process; with the answer if the connection breaks before. */
async function send(
  outgoing: ClientRequest,
  { file, bytes, answered }: Pick<AbortedUpload, 'file' | 'bytes'> & { answered: Promise<IncomingMessage> },
): Promise<number | IncomingMessage> {
  const part: ReadStream = createReadStream(file, { end: bytes - 1 })
  for await (const chunk of part) {
    const taken = Promise.withResolvers<boolean>()
    outgoing.write(chunk, (error) => taken.resolve(error == null))
    if (!(await taken.promise)) return answered
  }
  return part.bytesRead
}
