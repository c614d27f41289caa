/** What is wrong with an upload is told at once, nothing is handed out, and the next upload finds everything as new. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe } from 'node:test'
import { execa } from 'execa'
import { kinds } from '../../src/api/kinds.ts'
import { waitFor } from '../cluster/wait-for.ts'
import { arrives, assertDisk } from './support/assert-disk.ts'
import { volumePod } from './support/content.ts'
import { imageFiles, makeRawDisk } from './support/images.ts'
import { withProxy } from './support/proxy.ts'
import type { CurlAnswer } from './support/proxy.ts'
import { limit } from './support/quota.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'
import {
  abortedUpload,
  bearer,
  carrierOf,
  curlUpload,
  openTarget,
  tokenFor,
  uploadDisk,
  uploadPod,
  whenFree,
} from './support/upload.ts'
import type { CurlUpload } from './support/upload.ts'

const mebibyte = 1024 * 1024
const hugeBytes = 96 * mebibyte

/** Images beside those of the stage. */
const ownFiles = {
  /** Larger than any target here, almost all of it holes. */
  hugeQcow2: 'huge.qcow2',
  hugeXz: 'huge.img.xz',
  hugeRaw: 'huge.img',
  /** The head of a qcow2 and then nothing that makes sense. */
  garbage: 'garbage.qcow2',
  /** A qcow2 that breaks off. */
  short: 'short.qcow2',
} as const

const stage = useStage(async (common) => {
  const path = (name: string): string => join(common.directory, name)
  await makeRawDisk(path(ownFiles.hugeRaw), hugeBytes)
  await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', path(ownFiles.hugeRaw), path(ownFiles.hugeQcow2)])
  await execa('xz', ['-k', '-1', path(ownFiles.hugeRaw)])
  const qcow2 = await readFile(path(imageFiles.qcow2))
  const garbage = Buffer.from(qcow2)
  // The tables are found through the header; its pointer leads nowhere now (offset 40: l1_table_offset).
  garbage.writeBigUInt64BE(0xfff_ffff_ff00_0000n, 40)
  await writeFile(path(ownFiles.garbage), garbage)
  await writeFile(path(ownFiles.short), qcow2.subarray(0, Math.floor(qcow2.length / 2)))
  return withProxy(common)
})

const allFiles = { ...imageFiles, ...ownFiles }
type Image = keyof typeof allFiles

function file(image: Image): string {
  return join(stage().directory, allFiles[image])
}

async function sends(scene: Scene, upload: Omit<CurlUpload, 'file'> & { image: Image }): Promise<CurlAnswer> {
  return curlUpload(scene, stage().proxy, { ...upload, file: file(upload.image) })
}

const tooLarge = /^Saving stream failed: effective image size is larger than the reported available storage: \S[^]*$/

/** A good upload follows on what went wrong, into the same volume, with the same token if it is told. */
async function recovers(scene: Scene, upload: Partial<CurlUpload> = {}): Promise<void> {
  assert.equal(scene.dataVolume('dv')?.status?.phase, 'UploadReady')
  const answer = await whenFree(() => sends(scene, { image: 'qcow2', ...upload }))
  assert.deepEqual([answer.status, answer.body], [200, ''])
  await arrives(scene, stage().images)
  assert.equal(scene.dataVolume('dv')?.status?.restartCount ?? 0, 0, 'the server was started again')
}

describe('an image that is too large', { concurrency: 3 }, () => {
  const small = uploadDisk().storage('40Mi')
  const cases: readonly (readonly [image: Image, path: string, mode: 'Filesystem' | 'Block'])[] = [
    ['hugeQcow2', 'upload', 'Filesystem'],
    ['hugeQcow2', 'upload-async', 'Filesystem'],
    ['hugeQcow2', 'upload-form', 'Block'],
    ['hugeXz', 'upload', 'Filesystem'],
    ['hugeXz', 'upload-async', 'Block'],
    ['hugeRaw', 'upload', 'Filesystem'],
    ['hugeRaw', 'upload-async', 'Block'],
  ]
  for (const [image, path, mode] of cases) {
    scenario(
      `is refused twice as ${image} by ${path} into ${mode}, and one that fits is taken`,
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene, small.mode(mode))
        for (const _time of ['the first time', 'again']) {
          const { status, body } = await sends(scene, { image, path: `/v1beta1/${path}` })
          assert.equal(status, 400, body)
          assert.match(body, tooLarge)
        }
        const { metadata } = await uploadPod(scene)
        const { body: log } = await scene.cluster.kube.raw(
          'GET',
          `/api/v1/namespaces/${scene.namespace}/pods/${metadata.name}/log`,
        )
        assert.match(String(log), /effective image size is larger than the reported available/)
        await recovers(scene)
      },
    )
  }
})

describe('an image that is none', { concurrency: 3 }, () => {
  for (const image of ['garbage', 'short'] as const) {
    for (const path of ['upload', 'upload-async']) {
      scenario(
        `is refused (${image}, ${path}), and the next one is taken`,
        () => stage().cluster,
        async (scene) => {
          await openTarget(scene)
          const { status, body } = await sends(scene, { image, path: `/v1beta1/${path}` })
          assert.ok(status === 400 || status === 500, `${status} ${body}`)
          assert.match(body, /^Saving stream failed: \S/)
          await recovers(scene)
        },
      )
    }
  }

  scenario(
    'is refused as an archive, too',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene, uploadDisk().archive())
      const { status, body } = await sends(scene, { image: 'notTar' })
      assert.ok(status === 400 || status === 500, `${status} ${body}`)
      assert.match(body, /^Saving stream failed: \S/)
      assert.equal(scene.dataVolume('dv')?.status?.phase, 'UploadReady')
      assert.equal((await sends(scene, { image: 'tar' })).status, 200)
      await scene.succeeds('dv')
      const names = (await scene.read('dv', 'ls -A -I lost+found /volume > /dev/termination-log')).trim().split('\n')
      assert.deepEqual(names.toSorted(), ['hello.txt', 'sub'])
    },
  )

  scenario(
    'is refused as a form that is none',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      const token = await tokenFor(scene)
      for (const args of [
        ['--header', 'Content-Type: multipart/form-data; boundary=x', '--data-binary', 'not a part'],
        ['--header', 'Content-Type: text/plain', '--data-binary', `@${file('raw')}`],
        ['--form', `other=@${file('raw')}`],
      ]) {
        const { status, body } = await stage().proxy.curl('/v1beta1/upload-form', [...bearer(token), ...args])
        assert.equal(status, 400, body)
      }
      await recovers(scene, { path: '/v1beta1/upload-form', token })
    },
  )
})

describe('an upload that breaks off', { concurrency: 3 }, () => {
  for (const [image, path, mode] of [
    ['raw', '/v1beta1/upload', 'Filesystem'],
    ['qcow2', '/v1beta1/upload', 'Block'],
    ['rawXz', '/v1beta1/upload-async', 'Filesystem'],
  ] as const) {
    scenario(
      `in the middle of ${image} blocks nothing: the same token serves for the next one (${mode})`,
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene, uploadDisk().mode(mode))
        const token = await tokenFor(scene)
        for (const _time of ['once', 'twice']) {
          await abortedUpload(stage().proxy, { file: file(image), token, path, bytes: mebibyte })
        }
        await recovers(scene, { token, path })
        await assertDisk(scene, stage().images)
      },
    )
  }
})

describe('the digest of an upload', { concurrency: 3 }, () => {
  const digests = async (image: Image): Promise<{ hex: string; base64: string }> => {
    const hash = createHash('sha256').update(await readFile(file(image)))
    const bytes = hash.digest()
    return { hex: bytes.toString('hex'), base64: bytes.toString('base64') }
  }

  for (const [header, value] of [
    ['Repr-Digest', (base64: string) => `sha-256=:${base64}:`],
    ['Digest', (base64: string) => `SHA-256=${base64}`],
  ] as const) {
    scenario(
      `in ${header} decides whether it is handed out`,
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene)
        const right = value((await digests('qcow2')).base64)
        const wrong = value((await digests('raw')).base64)
        const refused = await sends(scene, { image: 'qcow2', args: ['--header', `${header}: ${wrong}`] })
        assert.equal(refused.status, 400)
        assert.match(refused.body, /digest|checksum/i)
        await recovers(scene, { args: ['--header', `${header}: ${right}`] })
      },
    )
  }

  scenario(
    'may be told by the DataVolume',
    () => stage().cluster,
    async (scene) => {
      const { hex } = await digests('rawXz')
      await openTarget(scene, uploadDisk().annotate('cdi.kubevirt.io/storage.upload.checksum', `sha256:${hex}`))
      const refused = await sends(scene, { image: 'raw', path: '/v1beta1/upload-async' })
      assert.equal(refused.status, 400)
      assert.match(refused.body, /checksum/i)
      assert.equal(scene.dataVolume('dv')?.status?.phase, 'UploadReady')
      assert.equal((await sends(scene, { image: 'rawXz' })).status, 200)
      await arrives(scene, stage().images)
    },
  )
})

describe('a quota', () => {
  scenario(
    'that leaves no room for the server is told on the claim, and obeyed until it grows',
    () => stage().cluster,
    async (scene) => {
      await limit(scene, { 'limits.memory': '100M', 'requests.memory': '10M' })
      await scene.apply(uploadDisk())
      const prime = await scene.until('the prime claim', () => carrierOf(scene)?.metadata.name)
      const pod = `cdi-upload-${prime}`
      const text = `Error starting pod '${pod}': For more information, request access to cdi-deploy logs from your sysadmin`
      await scene.tells(`PersistentVolumeClaim/${prime}`, `Warning ErrExceededQuota: ${text}`)
      await scene.until('the condition', () => {
        const { annotations = {} } = carrierOf(scene)?.metadata ?? {}
        return (
          annotations['cdi.kubevirt.io/storage.condition.running'] === 'false' &&
          annotations['cdi.kubevirt.io/storage.condition.running.message'] === text &&
          annotations['cdi.kubevirt.io/storage.condition.running.reason'] === 'ErrExceededQuota'
        )
      })
      await scene.cluster.kube.patch(
        kinds.resourceQuota,
        { namespace: scene.namespace, name: 'quota' },
        { spec: { hard: { 'limits.memory': '2G', 'requests.memory': '2G' } } },
        { type: 'merge' },
      )
      await scene.reaches('dv', 'UploadReady')
      await scene.cluster.kube.delete(kinds.resourceQuota, { namespace: scene.namespace, name: 'quota' })
      // The API server may remember it for half a minute, and the pod that looks at the disk has no limits.
      const trial = volumePod(scene.cluster, { name: 'trial', pvc: scene.pvc('dv')!, script: 'true' })
      const pods = `/api/v1/namespaces/${scene.namespace}/pods?dryRun=All`
      await waitFor({ what: 'the quota to be forgotten', timeoutMs: 120_000 }, async () => {
        return (await scene.cluster.kube.raw('POST', pods, trial)).status === 201
      })
      await recovers(scene)
    },
  )
})
