/** The CSI driver as pods see it, on the embedded cluster. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { clusterUnderTest, givenCluster, testNamespace, type ClusterUnderTest } from '../cluster-under-test.ts'
import { stateDir } from '../layout.ts'
import { ourLoops } from '../kernel-objects.ts'
import { readOwner } from '../ownership.ts'
import { podManifest, runPod, type PodVolume } from '../run-pod.ts'
import { waitFor } from '../wait-for.ts'

const mib = 1024 * 1024
// The driver belongs to the embedded cluster; another cluster has its own storage.
const skip = (await givenCluster()) === undefined ? false : 'a cluster was given'

describe('CSI volumes of the embedded cluster', { skip, concurrency: 3 }, () => {
  let cluster: ClusterUnderTest
  let space: Awaited<ReturnType<typeof testNamespace>>

  before(async () => {
    cluster = await clusterUnderTest()
    space = await testNamespace(cluster.kubectl)
  })
  after(async () => {
    await space[Symbol.asyncDispose]()
  })

  interface Claim {
    readonly name: string
    readonly storageClass?: string
    readonly mode?: 'Filesystem' | 'Block'
    readonly size: string
    readonly dataSource?: { readonly kind: string; readonly name: string; readonly apiGroup?: string }
  }

  async function claim({ name, storageClass, mode = 'Filesystem', size, dataSource }: Claim): Promise<void> {
    await cluster.kubectl.create({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name, namespace: space.name },
      spec: {
        accessModes: ['ReadWriteOnce'],
        volumeMode: mode,
        resources: { requests: { storage: size } },
        ...(storageClass === undefined ? {} : { storageClassName: storageClass }),
        ...(dataSource === undefined ? {} : { dataSource }),
      },
    })
  }

  const bound = (name: string): Promise<unknown> =>
    cluster.kubectl.waitUntil({ kind: 'pvc', name, namespace: space.name }, ({ status }) => status?.phase === 'Bound')
  const inPod = (name: string, volumes: readonly PodVolume[], script: string): Promise<string> =>
    runPod({ cluster, namespace: space.name, name, volumes, script })

  it('gives a file system that the worker user owns and that ends at its size', async () => {
    await claim({ name: 'limited', size: '64Mi' })
    await bound('limited')
    const output = await inPod(
      'limited',
      [{ claim: 'limited', at: '/data' }],
      'id -u; stat -c %g /data; dd if=/dev/zero of=/data/full bs=1M count=100 2>&1 | grep -o "No space left on device"; stat -c %s /data/full',
    )
    const [uid, group, refusal, written] = output.split('\n')
    assert.equal(uid, '107')
    assert.equal(group, '107')
    assert.equal(refusal, 'No space left on device')
    assert.ok(Number(written) > 50 * mib && Number(written) < 64 * mib, `${written} bytes were written`)
  })

  it('has room for an image of 18 MiB in a claim of 22 MiB', async () => {
    await claim({ name: 'small', size: '22Mi' })
    const output = await inPod(
      'small',
      [{ claim: 'small', at: '/data' }],
      'head -c 18874368 /dev/zero > /data/disk.img && sync /data/disk.img && stat -c %s /data/disk.img',
    )
    assert.equal(output, String(18 * mib))
  })

  it('gives a block device of exactly the size, which an unprivileged user writes and reads again', async () => {
    await claim({ name: 'block', size: '48Mi', mode: 'Block' })
    const volumes = [{ claim: 'block', at: '/dev/cdi-block-volume', mode: 'Block' as const }]
    const size = await inPod(
      'block-write',
      volumes,
      'blockdev --getsize64 /dev/cdi-block-volume; seq 1 2000000 | dd of=/dev/cdi-block-volume bs=1M iflag=fullblock conv=fsync 2>/dev/null',
    )
    assert.equal(size, String(48 * mib))
    const sums = await inPod(
      'block-read',
      volumes,
      'seq 1 2000000 | md5sum; head -c $(seq 1 2000000 | wc -c) /dev/cdi-block-volume | md5sum',
    )
    const [expected, found] = sums.split('\n')
    assert.equal(found, expected)
  })

  it('binds a WaitForFirstConsumer claim only when a pod wants it', async () => {
    await claim({ name: 'waiting', size: '32Mi', storageClass: 'csi-wffc' })
    await claim({ name: 'witness', size: '32Mi', storageClass: 'csi-immediate' })
    await bound('witness')
    const waiting = await cluster.kubectl.get('pvc', 'waiting', space.name)
    assert.equal(waiting.status.phase, 'Pending')
    assert.equal(
      await inPod('waiting', [{ claim: 'waiting', at: '/data' }], 'echo hello > /data/f; cat /data/f'),
      'hello',
    )
    await bound('waiting')
  })

  it('restores a snapshot into a larger volume, and later writes to the source do not show in it', async () => {
    await claim({ name: 'source', size: '32Mi' })
    await inPod('before', [{ claim: 'source', at: '/data' }], 'echo first > /data/f; sync /data/f')
    await cluster.kubectl.create({
      apiVersion: 'snapshot.storage.k8s.io/v1',
      kind: 'VolumeSnapshot',
      metadata: { name: 'taken', namespace: space.name },
      spec: { source: { persistentVolumeClaimName: 'source' } },
    })
    const taken = await cluster.kubectl.waitUntil(
      { kind: 'volumesnapshot', name: 'taken', namespace: space.name },
      ({ status }) => status?.readyToUse === true,
    )
    assert.equal(taken.status.restoreSize, '32Mi')
    await inPod('between', [{ claim: 'source', at: '/data' }], 'echo second > /data/f; sync /data/f')
    const dataSource = { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'taken' }
    await claim({ name: 'restored', size: '128Mi', dataSource })
    const output = await inPod(
      'restored',
      [{ claim: 'restored', at: '/data' }],
      'cat /data/f; df --output=size -B1M /data | tail -1',
    )
    const [content, sizeMib] = output.split('\n')
    assert.equal(content, 'first')
    assert.ok(Number(sizeMib) > 100, `the file system has ${sizeMib} MiB`)
  })

  for (const [storageClass, mode] of [
    ['csi-immediate', 'Filesystem'],
    ['csi-xfs', 'Filesystem'],
    ['csi-immediate', 'Block'],
  ] as const) {
    it(`clones a ${mode} volume of ${storageClass} while a pod uses the source`, async () => {
      const name = `${storageClass}-${mode.toLowerCase()}`
      const at = mode === 'Block' ? '/dev/disk' : '/data'
      const file = mode === 'Block' ? at : `${at}/f`
      await claim({ name, size: '16Mi', mode, storageClass })
      const { kubectl } = cluster
      const script = `echo ${name} | dd of=${file} conv=fsync,notrunc 2>/dev/null; echo written; sleep 600`
      const volumes = [{ claim: name, at, mode }]
      await kubectl.create(podManifest({ cluster, namespace: space.name, name: `${name}-user`, volumes, script }))
      await waitFor({ what: 'the write', timeoutMs: 60_000 }, async () =>
        (await kubectl.run(['logs', `${name}-user`, '-n', space.name])).includes('written'),
      )
      const capacity = (await kubectl.get('pvc', name, space.name)).status.capacity.storage as string
      await claim({
        name: `${name}-clone`,
        size: capacity,
        mode,
        storageClass,
        dataSource: { kind: 'PersistentVolumeClaim', name },
      })
      const found = await inPod(`${name}-clone`, [{ claim: `${name}-clone`, at, mode }], `head -n 1 ${file}`)
      assert.equal(found, name)
      await kubectl.delete('pod', `${name}-user`, space.name)
    })
  }

  const expand = async (name: string, size: string): Promise<void> => {
    const patch = JSON.stringify({ spec: { resources: { requests: { storage: size } } } })
    await cluster.kubectl.run(['patch', 'pvc', name, '-n', space.name, '--type=merge', '-p', patch])
  }
  const hasCapacity = (name: string, size: string): Promise<unknown> =>
    cluster.kubectl.waitUntil(
      { kind: 'pvc', name, namespace: space.name },
      ({ status }) => status?.capacity?.storage === size,
    )

  it('grows an xfs volume while a pod uses it', async () => {
    await claim({ name: 'growing', size: '300Mi', storageClass: 'csi-xfs' })
    const { kubectl } = cluster
    const volumes = [{ claim: 'growing', at: '/data' }]
    const script =
      'while [ $(df --output=size -B1M /data | tail -1) -lt 400 ]; do sleep 0.2; done; head -c 380M /dev/zero > /data/f && echo fits'
    await kubectl.create(podManifest({ cluster, namespace: space.name, name: 'growing', volumes, script }))
    const pod = { kind: 'pod', name: 'growing', namespace: space.name }
    await kubectl.waitUntil(pod, ({ status }) => status?.phase === 'Running')
    await expand('growing', '512Mi')
    await hasCapacity('growing', '512Mi')
    const { status } = await kubectl.waitUntil(pod, ({ status }) => ['Succeeded', 'Failed'].includes(status?.phase))
    assert.equal(status.phase, 'Succeeded')
    assert.equal(await kubectl.run(['logs', 'growing', '-n', space.name]), 'fits')
  })

  it('grows a block device while a pod uses it', async () => {
    await claim({ name: 'growing-block', size: '16Mi', mode: 'Block' })
    const { kubectl } = cluster
    const volumes = [{ claim: 'growing-block', at: '/dev/disk', mode: 'Block' as const }]
    const script =
      'while [ $(blockdev --getsize64 /dev/disk) -lt 33554432 ]; do sleep 0.2; done; blockdev --getsize64 /dev/disk'
    await kubectl.create(podManifest({ cluster, namespace: space.name, name: 'growing-block', volumes, script }))
    const pod = { kind: 'pod', name: 'growing-block', namespace: space.name }
    await kubectl.waitUntil(pod, ({ status }) => status?.phase === 'Running')
    await expand('growing-block', '32Mi')
    await kubectl.waitUntil(pod, ({ status }) => status?.phase === 'Succeeded')
    assert.equal(await kubectl.run(['logs', 'growing-block', '-n', space.name]), String(32 * mib))
  })

  it('grows an ext4 volume that no pod uses when the next one comes', async () => {
    await claim({ name: 'resting', size: '32Mi' })
    await inPod('resting-before', [{ claim: 'resting', at: '/data' }], 'echo kept > /data/f')
    await expand('resting', '96Mi')
    await cluster.kubectl.waitUntil({ kind: 'pvc', name: 'resting', namespace: space.name }, ({ status }) =>
      ((status?.conditions ?? []) as { type: string }[]).some(({ type }) => type === 'FileSystemResizePending'),
    )
    const script = 'cat /data/f; head -c 70M /dev/zero > /data/g && echo fits'
    assert.equal(await inPod('resting-after', [{ claim: 'resting', at: '/data' }], script), 'kept\nfits')
    await hasCapacity('resting', '96Mi')
  })

  it('frees loop devices and files when the claims are gone', async () => {
    const own = await testNamespace(cluster.kubectl)
    const state = (await readOwner())?.state ?? stateDir()
    await cluster.kubectl.create({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'gone', namespace: own.name },
      spec: { accessModes: ['ReadWriteOnce'], volumeMode: 'Block', resources: { requests: { storage: '16Mi' } } },
    })
    const volumes = [{ claim: 'gone', at: '/dev/disk', mode: 'Block' as const }]
    await runPod({ cluster, namespace: own.name, name: 'user', volumes, script: 'head -c 512 /dev/disk | md5sum' })
    const volume = (await cluster.kubectl.get('pvc', 'gone', own.name)).spec.volumeName as string
    await own[Symbol.asyncDispose]()
    await waitFor({ what: 'the volume to be deleted', timeoutMs: 60_000 }, async () => {
      return (await cluster.kubectl.get('pv', volume)) === undefined
    })
    const loops = await ourLoops(state)
    assert.deepEqual(
      loops.filter((loop) => loop['back-file'].includes(volume)),
      [],
    )
  })
})
