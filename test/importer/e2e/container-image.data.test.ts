/** Workers that import the disk in a container image, from a real registry. */
import assert from 'node:assert/strict'
import { readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { artifact, blob, diskLayer, image, layer, writeArchive } from '../../fixtures/container-images.ts'
import type { Blob, Content } from '../../fixtures/container-images.ts'
import { startDockerRegistry } from '../../fixtures/docker-registry.ts'
import type { DockerRegistry } from '../../fixtures/docker-registry.ts'
import { makeDisk, makeImage, mebibyte, noise, variants } from '../../fixtures/images.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import type { TempDir } from '../../fixtures/server-process.ts'
import { assertSame, pack } from './support/disks.ts'
import { Pod } from './support/pod.ts'
import type { Ended } from './support/pod.ts'

const sizeBytes = 8 * mebibyte
const refused =
  'Unable to process data: Unable to transfer source data to scratch space: Failed to read registry image: '

let dir: TempDir
let registry: DockerRegistry
let raw: string
let qcow2: string
let disk: Buffer

before(async () => {
  dir = await tempDir('container-image')
  registry = await startDockerRegistry()
  raw = join(dir.path, 'disk.raw')
  qcow2 = join(dir.path, 'disk.qcow2')
  await makeDisk(raw, { sizeBytes })
  await makeImage(
    raw,
    qcow2,
    variants.find(({ format }) => format === 'qcow2')!,
  )
  disk = await readFile(raw)
})

after(async () => {
  await registry[Symbol.asyncDispose]()
  await dir[Symbol.asyncDispose]()
})

let images = 0

async function run(pod: Pod, content: Content): Promise<Ended> {
  const name = `disks/${(images += 1)}`
  await registry.push(name, 'latest', content)
  return runUrl(pod, `docker://${registry.host}/${name}`)
}

function runUrl(pod: Pod, endpoint: string): Promise<Ended> {
  return pod.ended({ source: 'registry', endpoint, pullMethod: 'pod', insecureTls: true })
}

async function assertImports(content: Content): Promise<Ended> {
  await using pod = await Pod.start({ scratch: true })
  const ended = await run(pod, content)
  assert.equal(ended.exitCode, 0, ended.stderr)
  await assertSame(pod.disk, raw)
  assert.deepEqual(await readdir(pod.path('data')), ['disk.img'])
  return ended
}

async function assertRefuses(content: Content, words: RegExp): Promise<void> {
  await using pod = await Pod.start()
  const ended = await run(pod, content)
  assert.equal(ended.exitCode, 1, ended.stdout)
  assert.ok(ended.words.startsWith(refused), ended.words)
  assert.match(ended.words.slice(refused.length), words)
  assert.deepEqual(await readdir(pod.path('data')), [])
}

const other = (): Promise<Blob> =>
  layer([
    { name: 'etc/', type: 'directory' },
    { name: 'etc/noise', data: noise(70_000, 9) },
  ])

describe('a container image', () => {
  const payloads: Readonly<Record<string, () => Promise<string>>> = {
    'a raw disk': async () => raw,
    'a qcow2': async () => qcow2,
    'a packed raw disk': () => pack(raw, ['gz']),
    'a packed qcow2': () => pack(qcow2, ['xz']),
  }
  for (const [what, file] of Object.entries(payloads)) {
    for (const compression of ['none', 'gzip', 'zstd'] as const) {
      it(`with ${what} in a layer packed by ${compression} is imported`, async () => {
        const content = await readFile(await file())
        await assertImports(image({ layers: [await other(), await diskLayer(content, compression), await other()] }))
      })
    }
  }

  it('needs no scratch space for a raw disk, and hands its labels on', async () => {
    await using pod = await Pod.start()
    const layers = [await diskLayer(disk)]
    const { exitCode, words, stderr } = await run(pod, image({ layers, env: ['KUBEVIRT_IO_OS=linux', 'PATH=/bin'] }))
    assert.equal(exitCode, 0, stderr)
    assert.deepEqual(JSON.parse(words), {
      scratchSpaceRequired: false,
      preallocationApplied: false,
      labels: { 'kubevirt.io/os': 'linux' },
      message: 'Import Complete',
    })
    await assertSame(pod.disk, raw)
  })

  it('gives the disk that its upper layers show', async () => {
    const old = await diskLayer(noise(2 * mebibyte, 1), 'gzip', 'old.img')
    const gone = await layer([{ name: 'disk/.wh.old.img' }])
    await assertImports(image({ format: 'docker', layers: [await diskLayer(disk, 'none'), old, gone, await other()] }))
    await assertImports(image({ layers: [old, await diskLayer(disk, 'zstd', 'old.img')] }))
  })

  it('of forty layers is imported', async () => {
    const layers = await Promise.all(Array.from({ length: 40 }, (_, at) => (at === 0 ? diskLayer(disk) : other())))
    await assertImports(image({ layers }))
  })

  it('that is an artifact is imported', async () => {
    const packed = await readFile(await pack(raw, ['zst']))
    await assertImports(
      artifact({
        artifactType: 'application/vnd.kubevirt.virtualmachine.v1',
        layers: [blob('application/vnd.kubevirt.disk.raw+zstd', packed)],
      }),
    )
    const title = { 'org.opencontainers.image.title': 'disk.qcow2' }
    const file = blob('application/vnd.oci.image.layer.v1.tar', await readFile(qcow2), title)
    await assertImports(artifact({ artifactType: 'application/vnd.unknown.artifact.v1', layers: [file] }))
  })

  it('in a file is imported', async () => {
    await using pod = await Pod.start()
    const path = join(dir.path, 'image.tar')
    await writeArchive(path, { latest: image({ layers: [await diskLayer(disk), await other()] }) })
    const { exitCode, stderr } = await runUrl(pod, `oci-archive:${path}`)
    assert.equal(exitCode, 0, stderr)
    await assertSame(pod.disk, raw)
  })

  it('is not searched again by a worker that is started anew', async () => {
    await using pod = await Pod.start()
    const content = image({ layers: [await other()] })
    const first = await run(pod, content)
    assert.match(first.words, /Failed to find VM disk image file/)
    // Whoever asks for the layer now gets another answer.
    const [, layerBlob] = content.blobs
    const hex = layerBlob!.digest.slice('sha256:'.length)
    await rm(join(registry.storage, `docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}`), { recursive: true })
    const again = await runUrl(pod, `docker://${registry.host}/disks/${images}`)
    assert.deepEqual([again.exitCode, again.words], [1, first.words])
  })

  it('without a disk, or with one that is only a link, is refused', async () => {
    await assertRefuses(
      image({ layers: [await other()] }),
      /^Failed to find VM disk image file in the container image: there is no plain file below \/disk$/,
    )
    const link = await layer([{ name: 'disk/x', type: 'symlink', linkname: '/etc/passwd' }])
    await assertRefuses(image({ layers: [link] }), /; disk\/x is a symbolic link$/)
  })

  it('that boots by itself is refused', async () => {
    const labels = { 'containers.bootc': '1' }
    await assertRefuses(image({ layers: [await other()], labels }), /^bootc image detected: /)
  })

  it('whose layer was pushed damaged is refused', async () => {
    await using pod = await Pod.start()
    const whole = await diskLayer(disk)
    const half = blob(whole.mediaType, whole.bytes.subarray(0, whole.bytes.length >> 1))
    const { exitCode, words } = await run(pod, image({ layers: [half] }))
    assert.equal(exitCode, 1)
    assert.match(
      words,
      /^Unable to process data: .*: Failed to read registry image: layer sha256:[0-9a-f]+ cannot be used: the gzip data ends in the middle/,
    )
    assert.deepEqual(await readdir(pod.path('data')), [])
  })

  it('leaves nothing behind if the registry sends other bytes than were pushed, even behind the disk', async () => {
    await using pod = await Pod.start()
    const whole = await layer(
      [
        { name: 'disk/x', data: disk },
        { name: 'etc/x', data: noise(300_000, 5) },
      ],
      'none',
    )
    await registry.push('disks/rotten', 'latest', image({ layers: [whole] }))
    const hex = whole.digest.slice('sha256:'.length)
    const stored = join(registry.storage, 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data')
    const bytes = await readFile(stored)
    bytes[sizeBytes + 100_000]! ^= 1
    await writeFile(stored, bytes)
    const { exitCode, words } = await runUrl(pod, `docker://${registry.host}/disks/rotten`)
    assert.equal(exitCode, 1)
    assert.match(
      words,
      /: Failed to read registry image: layer sha256:[0-9a-f]+ has the digest sha256:[0-9a-f]+ as it was received$/,
    )
    assert.deepEqual(await readdir(pod.path('data')), [])
  })

  it('with a disk that is too large for the volume is refused, and leaves nothing behind', async () => {
    await using pod = await Pod.start()
    const large = await diskLayer(Buffer.alloc(24 * mebibyte))
    const { exitCode, words } = await run(pod, image({ layers: [large] }))
    assert.equal(exitCode, 1)
    assert.match(words, /is larger than the reported available/)
    assert.deepEqual(await readdir(pod.path('data')), [])
  })
})
