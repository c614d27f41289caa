/** What clients outside of DataVolumes rely on: claims that they fill themselves, and what is in the worker image. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import type { PersistentVolumeClaimSpec } from '../../src/api/kinds.ts'
import { classes } from './support/cluster.ts'
import { imageFiles } from './support/images.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage()

const claimSpec: PersistentVolumeClaimSpec = {
  accessModes: ['ReadWriteOnce'],
  storageClassName: classes.immediate,
  resources: { requests: { storage: '64Mi' } },
}

async function filled(scene: Scene, name: string): Promise<void> {
  await scene.until(`${name} to be filled`, () => {
    const pvc = scene.pvc(name)
    return (
      pvc?.status?.phase === 'Bound' && pvc.metadata.annotations?.['cdi.kubevirt.io/storage.pod.phase'] === 'Succeeded'
    )
  })
  const { sha256, file } = await scene.disk(name, stage().images.bytes)
  assert.equal(sha256, stage().images.sha256)
  // The user and group that KubeVirt's qemu runs as.
  assert.deepEqual([file?.uid, file?.gid, file?.mode], [107, 107, '660'])
}

describe('a claim without a DataVolume', { concurrency: 3 }, () => {
  scenario(
    'that was annotated by hand is filled directly, whatever else its source is called',
    () => stage().cluster,
    async (scene) => {
      await scene.create(kinds.pvc, {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: {
          name: 'bare',
          labels: { team: 'blue' },
          annotations: {
            'cdi.kubevirt.io/storage.import.endpoint': stage().web.url(imageFiles.qcow2),
            'cdi.kubevirt.io/storage.import.source': 'something',
          },
        },
        spec: claimSpec,
      })
      await filled(scene, 'bare')
      const annotations = scene.pvc('bare')?.metadata.annotations ?? {}
      assert.equal(annotations['cdi.kubevirt.io/storage.import.importPodName'], 'importer-bare')
      assert.equal(annotations['cdi.kubevirt.io/storage.condition.running.message'], 'Import Complete')
      assert.equal(scene.pvc('bare')?.metadata.labels?.['app'], 'containerized-data-importer')
      const [worker] = scene.seen.importerPods('bare')
      assert.equal(worker?.last.metadata.labels?.['team'], 'blue')
      await scene.tells('PersistentVolumeClaim/bare', 'Normal ImportSucceeded: Import Successful')
      await scene.until('the worker to be gone', () => scene.seen.importerPods('bare').every(({ gone }) => gone))
    },
  )

  for (const storageClass of [classes.immediate, classes.waitForFirstConsumer]) {
    scenario(
      `that names a VolumeImportSource is filled through P on ${storageClass}`,
      () => stage().cluster,
      async (scene) => {
        await scene.create(kinds.pvc, {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          metadata: { name: 'mine', annotations: { 'cdi.kubevirt.io/storage.bind.immediate.requested': 'yes' } },
          spec: {
            ...claimSpec,
            storageClassName: storageClass,
            dataSourceRef: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeImportSource', name: 'golden' },
          },
        })
        await scene.create(kinds.volumeImportSource, {
          apiVersion: 'cdi.kubevirt.io/v1beta1',
          kind: 'VolumeImportSource',
          metadata: { name: 'golden' },
          spec: { source: { http: { url: stage().web.url(imageFiles.rawXz) } }, preallocation: true },
        })
        await filled(scene, 'mine')
        const annotations = scene.pvc('mine')?.metadata.annotations ?? {}
        assert.equal(annotations['cdi.kubevirt.io/storage.preallocation'], 'true')
        assert.equal(annotations['cdi.kubevirt.io/storage.import.importPodName'], undefined)
        await scene.until('P to be gone', () => {
          return scene.pvc(annotations['cdi.kubevirt.io/storage.populator.pvcPrime'] ?? '') === undefined
        })
      },
    )
  }

  scenario(
    'and without an order is left alone',
    () => stage().cluster,
    async (scene) => {
      for (const name of ['plain', 'witness']) {
        const annotations = { 'cdi.kubevirt.io/storage.import.endpoint': stage().web.url(imageFiles.iso) }
        await scene.create(kinds.pvc, {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          metadata: { name, ...(name === 'witness' ? { annotations } : {}) },
          spec: claimSpec,
        })
      }
      await scene.until(
        'the other claim to be filled',
        () => scene.pvc('witness')?.metadata.annotations?.['cdi.kubevirt.io/storage.pod.phase'] === 'Succeeded',
      )
      assert.equal((await scene.read('plain', 'ls -A -I lost+found /volume > /dev/termination-log')).trim(), '')
      assert.deepEqual(scene.seen.importerPods('plain'), [])
    },
  )
})

describe('the worker image', { concurrency: 2 }, () => {
  // Third parties start pods from it with scripts like this one (contract: import §1).
  const script = `
words='one two'
y=($words)
test "\${y[1]}" = two
for tool in qemu-img ls head md5sum tr grep du cut wc dd chmod sync sleep echo kill; do command -v $tool > /dev/null; done
cd /tmp
qemu-img create -q -f qcow2 disk.qcow2 1M
qemu-img info --output=json disk.qcow2 | tr -d ' ' | grep -q -m 1 '"virtual-size":1048576'
dd if=/dev/zero of=zeros bs=1M count=1 status=none
test "$(head -c 1048576 zeros | md5sum | cut -d ' ' -f 1)" = b6d81b360a5672d80c27430f39153e2c
test "$(du --apparent-size -B 1 zeros | cut -f 1)" = 1048576
ls -ln -I zeros -1 > /dev/null
id -u > /dev/termination-log
`
  for (const [user, uid] of [
    ['its own user', undefined],
    ['the user of workers', 107],
  ] as const) {
    scenario(
      `serves scripts as ${user}, without privileges`,
      () => stage().cluster,
      async (scene) => {
        await scene.create(kinds.pod, {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: 'script' },
          spec: {
            restartPolicy: 'Never',
            automountServiceAccountToken: false,
            securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
            containers: [
              {
                name: 'script',
                image: scene.cluster.image,
                imagePullPolicy: 'IfNotPresent',
                command: ['/bin/sh', '-ec', script],
                terminationMessagePolicy: 'FallbackToLogsOnError',
                securityContext: {
                  allowPrivilegeEscalation: false,
                  capabilities: { drop: ['ALL'] },
                  ...(uid === undefined ? {} : { runAsUser: uid }),
                },
                volumeMounts: [{ name: 'tmp', mountPath: '/tmp' }],
              },
            ],
            volumes: [{ name: 'tmp', emptyDir: {} }],
          },
        })
        assert.equal((await scene.resultOf('script')).trim(), String(uid ?? 1001))
      },
    )
  }
})
